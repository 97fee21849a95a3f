//! A write-ahead log that an earlier process left is written once more, so that all of it is on the disk.

use std::path::{Path, PathBuf};

use crate::fail_point::{self, Point};
use crate::store::StoreError;
use crate::store::medium::{Medium, MediumFile};

const CHUNK_BYTES: usize = 1 << 20;

/// Returns the write-ahead log of a database.
pub(crate) fn wal_of(database: &Path) -> PathBuf {
    let mut wal = database.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}

/// Copies the write-ahead log of a database that nobody has open, and puts the copy in its place.
///
/// After a failed sync the kernel takes the lost pages for clean: what is read may be on no disk, and no later sync
/// writes it. A checkpoint from such a log overwrites the database, and a power cut in its midst leaves nothing to repair
/// it from. Its bytes are the same before and after.
pub(crate) fn renew(medium: &dyn Medium, database: &Path) -> Result<(), StoreError> {
    let wal = wal_of(database);
    if !medium.look(&wal).is_ok_and(|seen| seen.is_file && seen.bytes > 0) {
        return Ok(());
    }
    let mut name = wal.clone().into_os_string();
    name.push(".new");
    let making = PathBuf::from(name);
    let renewed = medium.open(&wal).and_then(|from| {
        let to = medium.create(&making)?;
        copy_while(&*from, &*to, &|| true)?;
        fail_point::hit(Point::RenewCopied)?;
        to.sync()?;
        fail_point::hit(Point::RenewSynced)?;
        // CRASH: before this rename the old log counts, after it the new one; both hold the same.
        medium.rename(&making, &wal)?;
        fail_point::hit(Point::RenewRenamed)?;
        medium.sync_dir(wal.parent().unwrap_or(Path::new(".")))
    });
    renewed.map_err(|error| StoreError::io(&wal, "renewing", &error))
}

/// Copies a file as long as it is to go on; says whether the copy is whole.
pub(crate) fn copy_while(
    from: &dyn MediumFile,
    to: &dyn MediumFile,
    goes_on: &dyn Fn() -> bool,
) -> std::io::Result<bool> {
    let (bytes, mut at) = (from.bytes()?, 0);
    while at < bytes {
        if !goes_on() {
            return Ok(false);
        }
        let left = usize::try_from(bytes.saturating_sub(at)).unwrap_or(CHUNK_BYTES);
        let mut chunk = vec![0; left.min(CHUNK_BYTES)];
        from.read_exact_at(&mut chunk, at)?;
        to.write_all_at(&chunk, at)?;
        at = at.saturating_add(crate::codec::count(chunk.len()));
    }
    Ok(true)
}

//! Suites: the case files below a path, be it a file, a folder or an archive.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::error::EthImportError;
use super::file::{ZSTD_MAGIC, unpack};

/// A case file: its name for people, and its bytes.
pub type SuiteFile = (PathBuf, Vec<u8>);

/// Where `ustar` stands in a tar archive.
const TAR_MAGIC: (usize, &[u8]) = (257, b"ustar");
/// Largest file in an archive.
const ENTRY_BYTES_MAX: u64 = 1 << 30;

/// Visits the JSON files below a path, one at a time: of a folder in the order of their names, of a tar archive
/// (plain or compressed with zstd) in its own order. A single file is visited whatever its name.
///
/// # Errors
/// [`EthImportError`] names what cannot be read; `visit`'s own errors are passed on.
pub fn visit_suite<E: From<EthImportError>>(
    path: &Path,
    visit: &mut dyn FnMut(SuiteFile) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |error| EthImportError::Read { path: path.to_owned(), error };
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(failed)?;
        let entries = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut paths: Vec<_> = entries.collect::<Result<_, _>>().map_err(failed)?;
        paths.sort();
        for path in paths.iter().filter(|path| path.is_dir() || is_case_file(path)) {
            visit_suite(path, visit)?;
        }
        return Ok(());
    }
    let file = BufReader::new(File::open(path).map_err(failed)?);
    let mut unpacked: Box<dyn Read> = if starts_with_zstd(path).map_err(failed)? {
        Box::new(zstd::stream::read::Decoder::with_buffer(file).map_err(failed)?)
    } else {
        Box::new(file)
    };
    let mut head = Vec::new();
    let read = Read::by_ref(&mut unpacked).take(512).read_to_end(&mut head);
    read.map_err(failed)?;
    let (at, magic) = TAR_MAGIC;
    if head.get(at..).is_none_or(|rest| !rest.starts_with(magic)) {
        return visit((path.to_owned(), unpack(path)?));
    }
    let mut archive = tar::Archive::new(head.as_slice().chain(unpacked));
    for entry in archive.entries().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.path().map_err(failed)?.into_owned();
        if entry.header().entry_type().is_file() && is_case_file(&name) {
            let mut json = Vec::new();
            entry.take(ENTRY_BYTES_MAX).read_to_end(&mut json).map_err(failed)?;
            visit((name, json))?;
        }
    }
    Ok(())
}

/// Folders named `.meta` beside the cases hold indexes of them.
fn is_case_file(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let is_json = name.ends_with(".json") || name.ends_with(".json.zst");
    is_json && !path.components().any(|part| part.as_os_str() == ".meta")
}

fn starts_with_zstd(path: &Path) -> std::io::Result<bool> {
    let mut magic = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut magic)?;
    Ok(magic == ZSTD_MAGIC)
}

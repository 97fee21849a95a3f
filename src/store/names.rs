//! Names of directories: made, and made durable.

use std::path::Path;

use crate::store::StoreError;
use crate::store::medium::Medium;

/// Makes a directory and those above it, where they are not there.
pub(crate) fn make(medium: &dyn Medium, dir: &Path) -> Result<(), StoreError> {
    if medium.look(dir).is_ok() {
        return Ok(());
    }
    if let Some(above) = dir.parent() {
        make(medium, above)?;
    }
    match medium.create_dir(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(StoreError::io(dir, "creating", &error))
        }
        _ => Ok(()),
    }
}

/// Makes the names in a directory survive a power cut, and the name of the directory itself, and those above it: an
/// earlier process may have made or renamed one of them and died before it synced it.
pub(crate) fn sync(medium: &dyn Medium, dir: &Path) -> Result<(), StoreError> {
    use std::io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    let absolute =
        std::path::absolute(dir).map_err(|error| StoreError::io(dir, "looking", &error))?;
    for (above, dir) in absolute.ancestors().enumerate() {
        match medium.sync_dir(dir) {
            Ok(()) => {}
            // Where we may not look, or nothing can be written, we have made nothing.
            Err(error)
                if above > 0
                    && matches!(
                        error.kind(),
                        PermissionDenied | ReadOnlyFilesystem | InvalidInput | Unsupported
                    ) =>
            {
                break;
            }
            Err(error) => return Err(StoreError::io(dir, "syncing", &error)),
        }
    }
    Ok(())
}

//! Where copies are made: never in the node whose copies they are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cli::{Advised, Exit};

/// Returns the directory in which the scratch directory is made: as it is named, else beside the node, else the
/// current directory.
///
/// # Errors
/// Where that lies within the node, whatever it is called.
pub(super) fn scratch_parent(data: Option<&Path>, named: Option<&Path>) -> Result<PathBuf> {
    let data = data.map(real).transpose()?;
    let beside = data.as_deref().and_then(Path::parent);
    let Some(parent) = named.or(beside) else {
        return std::env::current_dir().context("the current directory is not known");
    };
    let (place, data) = (real(parent)?, data.as_deref());
    match data.filter(|data| place.starts_with(data)) {
        Some(data) => Err(within(&place, data).into()),
        None => Ok(place),
    }
}

/// Returns the path without links and detours; as it is where there is nothing yet, which others refuse.
fn real(path: &Path) -> Result<PathBuf> {
    let path = path.canonicalize().or_else(|_| std::path::absolute(path));
    path.context("the current directory is not known")
}

fn within(place: &Path, data: &Path) -> Advised {
    let what = format!("{}: copies cannot be made within {}", place.display(), data.display());
    Advised::new(Exit::Usage, what, "name a directory outside of the node with --scratch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_made_anywhere_but_in_the_node() {
        let root = tempfile::tempdir().expect("a scratch directory");
        let root = root.path().canonicalize().expect("a directory");
        let path = |name: &str| root.join(name);
        std::fs::create_dir_all(path("node/bundles")).expect("a directory");
        std::fs::create_dir(path("node-2")).expect("a directory");
        for (target, link) in [("node", "alias"), ("node/bundles", "inner"), ("node-2", "node/out")]
        {
            std::os::unix::fs::symlink(path(target), path(link)).expect("a link");
        }
        for (data, named, expected) in [
            ("node", None, Some("")),
            ("node/bundles/..", None, Some("")),
            ("alias", None, Some("")),
            ("node", Some(""), Some("")),
            ("node", Some("node-2"), Some("node-2")),
            ("node", Some("node/out"), Some("node-2")),
            ("node", Some("nowhere"), Some("nowhere")),
            ("node", Some("node"), None),
            ("node", Some("node/bundles"), None),
            ("node", Some("node-2/../node"), None),
            ("node", Some("alias"), None),
            ("node", Some("inner"), None),
            ("alias", Some("node/bundles"), None),
        ] {
            let named = named.map(path);
            let found = scratch_parent(Some(&path(data)), named.as_deref()).ok();
            let expected =
                expected.map(|name| root.components().chain(Path::new(name).components()));
            assert_eq!(found, expected.map(Iterator::collect), "{data}, {named:?}");
        }
        assert_eq!(scratch_parent(None, None).ok(), std::env::current_dir().ok());
    }
}

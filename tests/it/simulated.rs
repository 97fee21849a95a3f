//! The medium of simulated disks, as the engine's store sees it.

use std::io;
use std::path::{Path, PathBuf};

use rewake::store::{Medium, MediumFile, Seen};
use rewake_simdisk::{OpenFile, VFS, disk_of};

/// Every simulated disk: the path says which.
#[derive(Debug)]
pub struct Simulated;

#[derive(Debug)]
struct SimulatedFile(OpenFile);

fn number(length: usize) -> u64 {
    u64::try_from(length).expect("64 bits")
}

fn place(at: u64) -> usize {
    usize::try_from(at).expect("64 bits")
}

impl Medium for Simulated {
    fn vfs(&self) -> Option<&str> {
        Some(VFS)
    }

    fn open(&self, file: &Path) -> io::Result<Box<dyn MediumFile>> {
        Ok(Box::new(SimulatedFile(disk_of(file)?.open(false)?)))
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn MediumFile>> {
        let file = disk_of(file)?.open(true)?;
        if file.length() > 0 {
            file.truncate(0)?;
        }
        Ok(Box::new(SimulatedFile(file)))
    }

    fn read_head(&self, file: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut head = vec![0; place(bytes_max)];
        let length = disk_of(file)?.open(false)?.read(&mut head, 0);
        head.truncate(length);
        Ok(head)
    }

    fn look(&self, path: &Path) -> io::Result<Seen> {
        let length = disk_of(path)?.look()?;
        Ok(Seen { is_file: length.is_some(), bytes: number(length.unwrap_or(0)) })
    }

    fn is_empty_dir(&self, dir: &Path) -> io::Result<bool> {
        Ok(disk_of(dir)?.names()?.is_empty())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        disk_of(dir)?.create_dir()
    }

    fn create_scratch_dir(&self, parent: &Path, prefix: &str) -> io::Result<PathBuf> {
        Ok(parent.join(disk_of(parent)?.create_scratch_dir(prefix)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        disk_of(from)?.rename(&disk_of(to)?)
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        disk_of(file)?.remove()
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        disk_of(dir)?.remove()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match disk_of(dir) {
            // Above the disks there is nothing to be lost.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            found => found?.sync_dir(),
        }
    }
}

impl MediumFile for SimulatedFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(number(self.0.length()))
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let length = self.0.read(buffer, place(at));
        if length < buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write(bytes, place(at))
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn lock(&self) -> io::Result<()> {
        if self.0.lock() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn unlock(&self) -> io::Result<()> {
        self.0.unlock();
        Ok(())
    }
}

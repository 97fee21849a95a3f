//! The SQLite VFS through which databases lie on simulated disks. The only place with unsafe code.
//!
//! <https://www.sqlite.org/c3ref/vfs.html>, <https://www.sqlite.org/c3ref/io_methods.html>.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::path::Path;
use std::ptr;
use std::sync::Once;

use rusqlite::ffi;

use crate::disk::{OpenFile, Place, disk_of};

/// The name of the VFS.
pub const VFS: &str = "simdisk";
const NAME: &CStr = c"simdisk";
const PATH_BYTES_MAX: c_int = 512;

/// An open file as SQLite holds it: its methods first, then ours.
#[repr(C)]
struct SimFile {
    base: ffi::sqlite3_file,
    open: *mut Handle,
}

struct Handle {
    file: OpenFile,
    /// Deleted when it is closed.
    place: Option<Place>,
    /// The directory is synced with the file, as the VFS for Unix does with journals that it may have made.
    syncs_dir: bool,
    is_powersafe: bool,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Version 1: without shared memory, which exclusive locking does not need.
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Makes the VFS known to SQLite, once.
pub fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let vfs = Box::leak(Box::new(ffi::sqlite3_vfs {
            iVersion: 1,
            szOsFile: c_int::try_from(size_of::<SimFile>()).expect("a few words"),
            mxPathname: PATH_BYTES_MAX,
            pNext: ptr::null_mut(),
            zName: NAME.as_ptr(),
            pAppData: ptr::null_mut(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: the structure is valid, is never freed, and only SQLite writes to it from here on.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite takes the VFS");
    });
}

/// Returns the code of an error; `otherwise` is that of an input or output error of the operation.
fn code(error: &io::Error, otherwise: c_int) -> c_int {
    match error.kind() {
        io::ErrorKind::StorageFull => ffi::SQLITE_FULL,
        _ => otherwise,
    }
}

/// Returns the place that a name means.
///
/// # Safety
/// The name is a string of C.
unsafe fn place_of(name: *const c_char) -> io::Result<Place> {
    // SAFETY: the caller says so.
    let name = unsafe { CStr::from_ptr(name) };
    let name = name.to_str().map_err(|_| io::ErrorKind::InvalidInput)?;
    disk_of(Path::new(name))
}

/// Returns what is ours of an open file.
///
/// # Safety
/// SQLite passes a file that `open` filled and `close` has not closed, for the time of one call.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a Handle {
    let file = file.cast::<SimFile>();
    // SAFETY: the file is one of ours.
    let open = unsafe { (*file).open };
    // SAFETY: `open` made it of a box, which `close` alone frees.
    unsafe { &*open }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let file = file.cast::<SimFile>();
    // SAFETY: SQLite gives room for `szOsFile` bytes. Without methods it does not close what was not opened.
    unsafe { (*file).base.pMethods = ptr::null() };
    // A temporary database has no name and would belong to no disk.
    if name.is_null() {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: the name is a string of C, by the contract of `xOpen`.
    let place = unsafe { place_of(name) };
    let Ok(place) = place else { return ffi::SQLITE_CANTOPEN };
    let creates = flags & ffi::SQLITE_OPEN_CREATE != 0;
    let opened = match place.open(creates) {
        Ok(opened) => opened,
        Err(error) => return code(&error, ffi::SQLITE_CANTOPEN),
    };
    let journals = ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL;
    // SAFETY: the name is that of `xOpen`, with its parameters behind it.
    let asked = unsafe { ffi::sqlite3_uri_boolean(name, c"psow".as_ptr(), 1) } != 0;
    let handle = Handle {
        is_powersafe: asked || opened.inner.settings.claims_powersafe,
        file: opened,
        place: (flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0).then_some(place),
        syncs_dir: creates && flags & journals != 0,
    };
    // SAFETY: as above.
    unsafe { (*file).open = Box::into_raw(Box::new(handle)) };
    // SAFETY: as above.
    unsafe { (*file).base.pMethods = &raw const METHODS };
    if !out_flags.is_null() {
        // SAFETY: it points to a number, by the contract of `xOpen`.
        unsafe { *out_flags = flags };
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_dir: c_int,
) -> c_int {
    // SAFETY: the name is a string of C, by the contract of `xDelete`.
    let place = unsafe { place_of(name) };
    let Ok(place) = place else { return ffi::SQLITE_IOERR_DELETE_NOENT };
    match place.remove() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(error) => code(&error, ffi::SQLITE_IOERR_DELETE),
        Ok(()) if sync_dir != 0 => match place.parent().sync_dir() {
            Ok(()) => ffi::SQLITE_OK,
            Err(error) => code(&error, ffi::SQLITE_IOERR_DIR_FSYNC),
        },
        Ok(()) => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    answer: *mut c_int,
) -> c_int {
    // SAFETY: the name is a string of C, by the contract of `xAccess`.
    let place = unsafe { place_of(name) };
    let seen = place.and_then(|place| place.look());
    let found = match seen {
        // As the VFS for Unix has it: an empty journal is none.
        Ok(Some(0)) => flags != ffi::SQLITE_ACCESS_EXISTS,
        Ok(_) => true,
        Err(_) => false,
    };
    // SAFETY: it points to a number, by the contract of `xAccess`.
    unsafe { *answer = c_int::from(found) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: the name is a string of C, by the contract of `xFullPathname`.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if c_int::try_from(name.len()).map_or(true, |length| length > room) {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: there is room for `room` bytes, and what is being read lies elsewhere.
    unsafe { ptr::copy_nonoverlapping(name.as_ptr().cast(), out, name.len()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(
    _: *mut ffi::sqlite3_vfs,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: there is room for `length` bytes, by the contract of `xRandomness`.
    unsafe { ptr::write_bytes(out, 0x5a, usize::try_from(length).unwrap_or(0)) };
    length
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    // Nobody waits on a disk of one process.
    microseconds
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, days: *mut f64) -> c_int {
    // A day like any other: no result may depend on it.
    // SAFETY: it points to a number, by the contract of `xCurrentTime`.
    unsafe { *days = 2_460_000.5 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let file = file.cast::<SimFile>();
    // SAFETY: the file is one of ours, and SQLite closes it once.
    let open = unsafe { (*file).open };
    // SAFETY: `open` made it of a box, and nothing refers to it any more.
    let handle = unsafe { Box::from_raw(open) };
    match handle.place.as_ref().map(Place::remove) {
        Some(Err(error)) => code(&error, ffi::SQLITE_IOERR_CLOSE),
        _ => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    out: *mut c_void,
    length: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    let (Ok(length), Ok(at)) = (usize::try_from(length), usize::try_from(at)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: there is room for `length` bytes, which SQLite has made.
    unsafe { ptr::write_bytes(out.cast::<u8>(), 0, length) };
    // SAFETY: the bytes were just written, and nothing else refers to them during the call.
    let buffer = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), length) };
    if handle.file.read(buffer, at) < length {
        return ffi::SQLITE_IOERR_SHORT_READ;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    let (Ok(length), Ok(at)) = (usize::try_from(length), usize::try_from(at)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: there are `length` bytes, by the contract of `xWrite`.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) };
    match handle.file.write(bytes, at) {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) => code(&error, ffi::SQLITE_IOERR_WRITE),
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: ffi::sqlite3_int64) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    let Ok(length) = usize::try_from(length) else { return ffi::SQLITE_IOERR_TRUNCATE };
    match handle.file.truncate(length) {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) => code(&error, ffi::SQLITE_IOERR_TRUNCATE),
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    if let Err(error) = handle.file.sync() {
        return code(&error, ffi::SQLITE_IOERR_FSYNC);
    }
    if !handle.syncs_dir {
        return ffi::SQLITE_OK;
    }
    match handle.file.sync_dir() {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) => code(&error, ffi::SQLITE_IOERR_DIR_FSYNC),
    }
}

unsafe extern "C" fn file_size(
    file: *mut ffi::sqlite3_file,
    size: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    let length = ffi::sqlite3_int64::try_from(handle.file.length()).expect("a length in memory");
    // SAFETY: it points to a number, by the contract of `xFileSize`.
    unsafe { *size = length };
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    if handle.file.raise(level) { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    handle.file.lower(level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(
    file: *mut ffi::sqlite3_file,
    answer: *mut c_int,
) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    // SAFETY: it points to a number, by the contract of `xCheckReservedLock`.
    unsafe { *answer = c_int::from(handle.file.is_reserved()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(
    _: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    if operation != ffi::SQLITE_FCNTL_MMAP_SIZE {
        return ffi::SQLITE_NOTFOUND;
    }
    // Nothing is ever mapped.
    // SAFETY: the argument of this operation points to a number of 64 bits.
    unsafe { *argument.cast::<ffi::sqlite3_int64>() = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    c_int::try_from(handle.file.inner.settings.sector_bytes).expect("a few bytes")
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    if handle.is_powersafe { ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE } else { 0 }
}

//! The live disk: a tree of files, each operation on which is recorded.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fault::{Armed, Call, Fault, Kind};
use crate::image::{Image, Node, NodeId, Op, SyncOutcome, Trace};

/// How a disk behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of a sector, as SQLite is told.
    pub sector_bytes: usize,
    /// Tells SQLite that a torn write leaves its neighbours alone, whatever the database asks for. It does not.
    pub claims_powersafe: bool,
    /// Files whose syncs do nothing, by the end of their names; they are answered as if they did.
    pub ignored_syncs: &'static [&'static str],
}

impl Default for Settings {
    fn default() -> Self {
        Self { sector_bytes: 512, claims_powersafe: false, ignored_syncs: &[] }
    }
}

/// A disk in memory, reached by every path below its own while it lives.
#[derive(Debug)]
pub struct Disk {
    number: u64,
    inner: Arc<Inner>,
}

/// What the open files of a disk share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    state: Mutex<State>,
    before_write: Mutex<Option<Hook>>,
}

/// What is called before something is done.
#[derive(Clone)]
struct Hook(Arc<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        text.write_str("Hook")
    }
}

#[derive(Debug)]
struct State {
    live: Image,
    trace: Trace,
    fault: Option<Armed>,
    locks: HashSet<NodeId>,
    levels: HashMap<NodeId, BTreeMap<u64, i32>>,
    scratch_dirs: u64,
}

static DISKS: Mutex<BTreeMap<u64, Arc<Inner>>> = Mutex::new(BTreeMap::new());
static NUMBERS: AtomicU64 = AtomicU64::new(1);
const ROOT: &str = "/simdisk/";

impl Disk {
    /// Makes a disk with these bytes.
    #[must_use]
    pub fn new(image: Image, settings: Settings) -> Self {
        crate::vfs::register();
        let state = State {
            live: image,
            trace: Vec::new(),
            fault: None,
            locks: HashSet::new(),
            levels: HashMap::new(),
            scratch_dirs: 0,
        };
        let inner =
            Arc::new(Inner { settings, state: Mutex::new(state), before_write: Mutex::default() });
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        disks().insert(number, Arc::clone(&inner));
        Self { number, inner }
    }

    /// Returns the path under which the disk is reached.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("{ROOT}{}", self.number))
    }

    /// Returns how many operations there were.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.inner.state().trace.len()
    }

    /// Returns what counts the operations from elsewhere.
    #[must_use]
    pub fn counter(&self) -> Counter {
        Counter(Arc::clone(&self.inner))
    }

    /// Returns the operations so far.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.inner.state().trace.clone()
    }

    /// Returns what is read at present, durable or not.
    #[must_use]
    pub fn live(&self) -> Image {
        self.inner.state().live.clone()
    }

    /// Lets a call fail from now on, instead of any other fault.
    pub fn arm(&self, fault: Option<Fault>) {
        self.inner.state().fault = fault.map(|fault| Armed { fault, calls: 0, fired: 0 });
    }

    /// Calls a hook before each write of a file from now on, on the thread that writes. It may take its time and must not
    /// panic: SQLite waits for it.
    pub fn before_writes(&self, hook: impl Fn() + Send + Sync + 'static) {
        *self.inner.before_write() = Some(Hook(Arc::new(hook)));
    }

    /// Returns how many calls of the fault's kind there were, and how many of them failed.
    #[must_use]
    pub fn faults(&self) -> (usize, usize) {
        self.inner.state().fault.as_ref().map_or((0, 0), |armed| (armed.calls, armed.fired))
    }
}

/// Counts the operations of a disk.
#[derive(Clone, Debug)]
pub struct Counter(Arc<Inner>);

impl Counter {
    /// Returns how many operations there were.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.0.state().trace.len()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        disks().remove(&self.number);
    }
}

fn disks() -> MutexGuard<'static, BTreeMap<u64, Arc<Inner>>> {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place on a disk: a path whose disk was found.
#[derive(Clone, Debug)]
pub struct Place {
    inner: Arc<Inner>,
    parts: Vec<String>,
}

/// Finds the disk of a path, and the place on it.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] where no disk is there.
pub fn disk_of(path: &Path) -> io::Result<Place> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let rest = path.to_str().and_then(|path| path.strip_prefix(ROOT)).ok_or_else(missing)?;
    let mut parts = rest.split('/').filter(|part| !part.is_empty()).map(str::to_owned);
    let number = parts.next().and_then(|number| number.parse().ok()).ok_or_else(missing)?;
    let inner = disks().get(&number).cloned().ok_or_else(missing)?;
    Ok(Place { inner, parts: parts.collect() })
}

impl Place {
    /// Opens a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is none, and no new one is asked for.
    pub fn open(&self, creates: bool) -> io::Result<OpenFile> {
        let mut state = self.inner.state();
        let (dir, name) = state.parent(&self.parts)?;
        let node = match state.entry(dir, &name) {
            Some(node) => node,
            None if creates => state.make(dir, name, false)?,
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        if matches!(state.live.nodes[node], Node::Dir(_)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        drop(state);
        Ok(OpenFile::new(&self.inner, node, dir, &self.parts.join("/")))
    }

    /// Returns the size of a file, or nothing for a directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is neither.
    pub fn look(&self) -> io::Result<Option<usize>> {
        let state = self.inner.state();
        let node = state.find(&self.parts)?;
        Ok(match &state.live.nodes[node] {
            Node::File(bytes) => Some(bytes.len()),
            Node::Dir(_) => None,
        })
    }

    /// Returns the names in a directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is none.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let state = self.inner.state();
        let dir = state.find(&self.parts)?;
        match &state.live.nodes[dir] {
            Node::Dir(names) => Ok(names.keys().cloned().collect()),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] where the name is taken.
    pub fn create_dir(&self) -> io::Result<()> {
        let mut state = self.inner.state();
        let (dir, name) = state.parent(&self.parts)?;
        if state.entry(dir, &name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.make(dir, name, true).map(drop)
    }

    /// Makes a directory with a name of its own in this one, and returns the name.
    ///
    /// # Errors
    /// As [`Place::create_dir`].
    pub fn create_scratch_dir(&self, prefix: &str) -> io::Result<String> {
        loop {
            let mut state = self.inner.state();
            state.scratch_dirs += 1;
            let name = format!("{prefix}{}", state.scratch_dirs);
            drop(state);
            let mut parts = self.parts.clone();
            parts.push(name.clone());
            match (Self { inner: Arc::clone(&self.inner), parts }).create_dir() {
                // A disk that was rebuilt may hold one of before.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| name),
            }
        }
    }

    /// Gives what is here another place on the same disk.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where nothing is here.
    pub fn rename(&self, to: &Self) -> io::Result<()> {
        let mut state = self.inner.state();
        let (from_dir, from) = state.parent(&self.parts)?;
        let (to_dir, to) = state.parent(&to.parts)?;
        let node = state.entry(from_dir, &from).ok_or(io::ErrorKind::NotFound)?;
        let entries = vec![(from_dir, from, None), (to_dir, to, Some(node))];
        state.change(Call::Link, Op::Link { entries })
    }

    /// Takes the name of a file or directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is none.
    pub fn remove(&self) -> io::Result<()> {
        let mut state = self.inner.state();
        let (dir, name) = state.parent(&self.parts)?;
        state.entry(dir, &name).ok_or(io::ErrorKind::NotFound)?;
        state.change(Call::Link, Op::Link { entries: vec![(dir, name, None)] })
    }

    /// Makes the names in this directory durable.
    ///
    /// # Errors
    /// That of a fault.
    pub fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.inner.state();
        let dir = state.find(&self.parts)?;
        state.sync_dir(dir)
    }

    /// Returns the place of the directory above.
    #[must_use]
    pub fn parent(&self) -> Self {
        let parts = self.parts.split_last().map(|(_, above)| above.to_vec()).unwrap_or_default();
        Self { inner: Arc::clone(&self.inner), parts }
    }
}

/// An open file.
#[derive(Debug)]
pub struct OpenFile {
    pub(crate) inner: Arc<Inner>,
    node: NodeId,
    dir: NodeId,
    ignores_sync: bool,
    /// Tells open files apart in the table of locks.
    number: u64,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.release();
    }
}

impl OpenFile {
    fn new(inner: &Arc<Inner>, node: NodeId, dir: NodeId, path: &str) -> Self {
        let ignores_sync = inner.settings.ignored_syncs.iter().any(|end| path.ends_with(end));
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Self { inner: Arc::clone(inner), node, dir, ignores_sync, number }
    }

    /// Returns its length.
    #[must_use]
    pub fn length(&self) -> usize {
        self.inner.state().file(self.node).len()
    }

    /// Reads from a position on and returns how many bytes there were.
    pub fn read(&self, buffer: &mut [u8], at: usize) -> usize {
        let state = self.inner.state();
        let file = state.file(self.node);
        let start = at.min(file.len());
        let length = buffer.len().min(file.len() - start);
        buffer[..length].copy_from_slice(&file[start..start + length]);
        length
    }

    /// Writes bytes at a position.
    ///
    /// # Errors
    /// That of a fault.
    pub fn write(&self, bytes: &[u8], at: usize) -> io::Result<()> {
        let hook = self.inner.before_write().clone();
        if let Some(Hook(hook)) = hook {
            hook();
        }
        let op = Op::Write { node: self.node, at, bytes: bytes.into() };
        self.inner.state().change(Call::Write, op)
    }

    /// Gives the file another length.
    ///
    /// # Errors
    /// That of a fault.
    pub fn truncate(&self, length: usize) -> io::Result<()> {
        let op = Op::Truncate { node: self.node, length };
        self.inner.state().change(Call::Truncate, op)
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// That of a fault.
    pub fn sync(&self) -> io::Result<()> {
        let node = self.node;
        self.inner.state().sync(|outcome| Op::Sync { node, outcome }, self.ignores_sync)
    }

    /// Makes the names in the file's directory durable.
    ///
    /// # Errors
    /// That of a fault.
    pub fn sync_dir(&self) -> io::Result<()> {
        let dir = self.dir;
        self.inner.state().sync_dir(dir)
    }

    /// Takes the lock of the file; false where another has it.
    #[must_use]
    pub fn lock(&self) -> bool {
        self.inner.state().locks.insert(self.node)
    }

    /// Frees the lock.
    pub fn unlock(&self) {
        self.inner.state().locks.remove(&self.node);
    }

    /// Takes a lock of SQLite, 1 shared to 4 exclusive; false where another stands in the way.
    pub(crate) fn raise(&self, level: i32) -> bool {
        let mut state = self.inner.state();
        let levels = state.levels.entry(self.node).or_default();
        // What another may hold at most beside this.
        let beside = match level {
            1 => 2,
            2 | 3 => 1,
            _ => 0,
        };
        let free = levels.iter().all(|(number, held)| *number == self.number || *held <= beside);
        if free {
            levels.insert(self.number, level);
        }
        free
    }

    /// Lowers a lock of SQLite.
    pub(crate) fn lower(&self, level: i32) {
        self.inner.state().levels.entry(self.node).or_default().insert(self.number, level);
    }

    /// Says whether another holds a reserved lock or a stronger one.
    pub(crate) fn is_reserved(&self) -> bool {
        let mut state = self.inner.state();
        let levels = state.levels.entry(self.node).or_default();
        levels.iter().any(|(number, held)| *number != self.number && *held >= 2)
    }

    fn release(&self) {
        self.inner.state().levels.entry(self.node).or_default().remove(&self.number);
    }
}

impl Inner {
    fn before_write(&self) -> MutexGuard<'_, Option<Hook>> {
        self.before_write.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn record(&mut self, op: Op) {
        self.live.apply(&op);
        self.trace.push(op);
    }

    fn fails(&mut self, call: Call) -> Option<Kind> {
        self.fault.as_mut()?.meets(call)
    }

    fn change(&mut self, call: Call, op: Op) -> io::Result<()> {
        if let Some(kind) = self.fails(call) {
            return Err(kind.error());
        }
        self.record(op);
        Ok(())
    }

    fn sync(&mut self, op: impl FnOnce(SyncOutcome) -> Op, is_ignored: bool) -> io::Result<()> {
        if is_ignored {
            self.record(op(SyncOutcome::Ignored));
            return Ok(());
        }
        let kind = self.fails(Call::Sync);
        self.record(op(match kind {
            None => SyncOutcome::Done,
            Some(Kind::IoDropping) => SyncOutcome::Dropped,
            Some(Kind::IoKeeping | Kind::Full) => SyncOutcome::Kept,
        }));
        kind.map_or(Ok(()), |kind| Err(kind.error()))
    }

    /// Names go through a journal, which does not forget them where it fails.
    fn sync_dir(&mut self, dir: NodeId) -> io::Result<()> {
        self.sync(
            |outcome| match outcome {
                SyncOutcome::Dropped => Op::SyncDir { dir, outcome: SyncOutcome::Kept },
                outcome => Op::SyncDir { dir, outcome },
            },
            false,
        )
    }

    fn make(&mut self, dir: NodeId, name: String, is_dir: bool) -> io::Result<NodeId> {
        if let Some(kind) = self.fails(Call::Link) {
            return Err(kind.error());
        }
        let node = self.live.nodes.len();
        self.record(Op::New { is_dir });
        self.record(Op::Link { entries: vec![(dir, name, Some(node))] });
        Ok(node)
    }

    fn file(&self, node: NodeId) -> &[u8] {
        match &self.live.nodes[node] {
            Node::File(bytes) => bytes,
            Node::Dir(_) => &[],
        }
    }

    fn entry(&self, dir: NodeId, name: &str) -> Option<NodeId> {
        match &self.live.nodes[dir] {
            Node::Dir(names) => names.get(name).copied(),
            Node::File(_) => None,
        }
    }

    fn find(&self, parts: &[String]) -> io::Result<NodeId> {
        let step = |dir, name: &String| self.entry(dir, name);
        let found = parts.iter().try_fold(0, step);
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn parent(&self, parts: &[String]) -> io::Result<(NodeId, String)> {
        let (name, above) = parts.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.find(above)?, name.clone()))
    }
}

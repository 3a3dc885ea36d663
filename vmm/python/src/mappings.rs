//! Everything that the tables of an image map. A thread reads the image; Python takes what it finds, and can do other
//! things meanwhile.

use crosswalk_inspect::{
    Found, Limits, MemoryImage, PageFlags, PageRange, PageRanges, Scan, entry_count,
};
use mmu_core::x86::semantics::Rights;
use mmu_core::{AnyMmu, VirtAddr};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;
use std::vec;

/// Number of ranges that are handed over at once, and of such batches that wait.
const BATCH: usize = 1024;
const BATCHES: usize = 4;

/// How often Python may look for a Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(100);

/// An iterator over ranges of pages.
#[pyclass(module = "crosswalk_mmu")]
pub(crate) struct Mappings {
    /// In a lock, as a receiver belongs to one thread at a time.
    batches: Mutex<Receiver<Vec<PageRange>>>,
    batch: vec::IntoIter<PageRange>,
    progress: Arc<ScanProgress>,
}

/// What both sides know of a scan.
#[derive(Default)]
struct ScanProgress {
    /// Whether nobody takes any more.
    is_stopped: AtomicBool,
    reserved: AtomicU64,
    repeated: AtomicU64,
    unreadable: AtomicU64,
}

impl Mappings {
    /// Starts a scan of the addresses of a range: of ranges of pages, or of single pages.
    pub(crate) fn start(
        image: Arc<MemoryImage>,
        mmu: &AnyMmu,
        (first, last): (u64, u64),
        pages: bool,
    ) -> io::Result<Self> {
        let (sender, batches) = sync_channel(BATCHES);
        let progress = Arc::new(ScanProgress::default());
        let seen = progress.clone();
        let mmu = *mmu;

        thread::Builder::new().name("crosswalk-scan".to_owned()).spawn(move || {
            let range = (VirtAddr::new(first), VirtAddr::new(last));
            let scan = Scan::new(image.memory(), &mmu, range, Limits::default());
            let mut sink = BatchSink { sender, batch: Vec::new() };
            seen.follow(scan, pages, &mut sink);
        })?;
        Ok(Self { batches: Mutex::new(batches), batch: Vec::new().into_iter(), progress })
    }

    /// The next range. Waits for it without the GIL.
    fn next(&mut self, py: Python<'_>) -> PyResult<Option<PageRange>> {
        loop {
            if let Some(range) = self.batch.next() {
                return Ok(Some(range));
            }

            let received = py.detach(|| match self.batches.get_mut() {
                Ok(batches) => batches.recv_timeout(PATIENCE),
                Err(_) => Err(RecvTimeoutError::Disconnected),
            });
            match received {
                Ok(batch) => self.batch = batch.into_iter(),
                Err(RecvTimeoutError::Timeout) => py.check_signals()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }
}

impl Drop for Mappings {
    fn drop(&mut self) {
        self.progress.is_stopped.store(true, Ordering::Relaxed);
    }
}

#[pymethods]
impl Mappings {
    const fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.next(py)?.map(|range| record(py, &range)).transpose()
    }

    /// What was found so far that maps nothing: the numbers of entries with reserved bits, of tables that lead to
    /// themselves and are not read again, and of entries that the image does not have.
    #[getter]
    fn problems<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let ScanProgress { reserved, repeated, unreadable, .. } = &*self.progress;
        let problems = PyDict::new(py);
        for (name, count) in
            [("reserved", reserved), ("repeated", repeated), ("unreadable", unreadable)]
        {
            problems.set_item(name, count.load(Ordering::Relaxed))?;
        }
        Ok(problems)
    }
}

impl ScanProgress {
    /// Hands over what a scan finds, until nobody takes it any more.
    fn follow(&self, scan: Scan<'_>, pages: bool, sink: &mut BatchSink) {
        let mut ranges = PageRanges::contiguous();
        for found in scan {
            if self.is_stopped.load(Ordering::Relaxed) {
                return;
            }
            let (counter, count) = match found {
                Found::Table(_) => continue,
                Found::Page(page) => {
                    let Some(page) = PageRange::of(&page) else { continue };
                    let range = if pages { Some(page) } else { ranges.push(page) };
                    if range.is_some_and(|range| !sink.push(range)) {
                        return;
                    }
                    continue;
                }
                Found::Reserved(_) => (&self.reserved, 1),
                Found::Repeated(_) => (&self.repeated, 1),
                Found::Unreadable(unreadable) => (&self.unreadable, entry_count(&unreadable)),
            };
            counter.fetch_add(count, Ordering::Relaxed);
        }
        if let Some(range) = ranges.finish() {
            sink.push(range);
        }
        sink.flush();
    }
}

/// Collects ranges into batches.
struct BatchSink {
    sender: SyncSender<Vec<PageRange>>,
    batch: Vec<PageRange>,
}

impl BatchSink {
    /// Adds a range. Returns whether the receiver is still there.
    fn push(&mut self, range: PageRange) -> bool {
        self.batch.push(range);
        self.batch.len() < BATCH || self.flush()
    }

    fn flush(&mut self) -> bool {
        self.sender.send(std::mem::take(&mut self.batch)).is_ok()
    }
}

/// A range as a row of a table.
fn record<'py>(py: Python<'py>, range: &PageRange) -> PyResult<Bound<'py, PyDict>> {
    // Of all pages, of none, or not of each.
    let flag = |flags: PageFlags| match flags {
        PageFlags::All => Some(true),
        PageFlags::None => Some(false),
        PageFlags::Some => None,
    };

    let record = PyDict::new(py);
    record.set_item("va", range.first.get())?;
    record.set_item("length", range.bytes())?;
    record.set_item("frame", range.address.get())?;
    record.set_item("page_size", 1_u64.checked_shl(range.level.shift.into()).unwrap_or(0))?;
    record.set_item("writable", range.rights.contains(Rights::WRITE))?;
    record.set_item("user", range.rights.contains(Rights::USER))?;
    record.set_item("executable", range.rights.contains(Rights::EXECUTE))?;
    record.set_item("accessed", flag(range.accessed))?;
    record.set_item("dirty", flag(range.dirty))?;
    record.set_item("global_", flag(range.global))?;
    Ok(record)
}

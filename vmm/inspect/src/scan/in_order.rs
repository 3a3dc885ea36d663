//! Work on several threads, whose results come in order.

use std::collections::BTreeMap;
use std::iter;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// Number of results for each thread that may wait to be taken, the one that it works on included.
const AHEAD: usize = 2;

/// Number of items that are done before threads are started. On a busy machine it can take milliseconds until they
/// run.
const ALONE: usize = 4;

/// The most threads.
const MAX_THREADS: usize = 1024;

/// What the threads take their work from.
struct Queue<I> {
    items: I,
    /// The number of the next item.
    next: usize,
    /// One for each item that may be begun. There are no more when nobody takes results.
    permits: Receiver<()>,
}

impl<I: Iterator> Queue<I> {
    /// The next item and its number, when it may be begun. The other threads wait meanwhile: they would get
    /// no permit either.
    fn next(&mut self) -> Option<(usize, I::Item)> {
        self.permits.recv().ok()?;
        let number = self.next;
        self.next += 1;
        self.items.next().map(|item| (number, item))
    }
}

/// Does the work for each item, and takes the results in the order of the items, until it is told to stop.
pub(super) fn for_each_in_order<P: Send, T: Send, B>(
    items: impl Iterator<Item = P> + Send,
    threads: NonZero<usize>,
    work: impl Fn(P) -> T + Sync,
    mut take: impl FnMut(T) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let mut items = items.fuse();
    items.by_ref().take(ALONE).try_for_each(|item| take(work(item)))?;
    let Some(next) = items.next() else { return ControlFlow::Continue(()) };
    let mut items = iter::once(next).chain(items);
    if threads == NonZero::<usize>::MIN {
        return items.try_for_each(|item| take(work(item)));
    }

    let threads = threads.get().min(MAX_THREADS);
    let (permit, permits) = channel();
    for _ in 0..threads * AHEAD {
        let _ = permit.send(());
    }
    let queue = Mutex::new(Queue { items, next: 0, permits });
    let (sender, results) = channel();

    thread::scope(|scope| {
        // They end with these: then nobody waits for another one.
        let (permit, results) = (permit, results);
        for _ in 0..threads {
            let (sender, queue, work) = (sender.clone(), &queue, &work);
            let worker = move || {
                while let Some((number, item)) =
                    queue.lock().ok().and_then(|mut queue| queue.next())
                {
                    let result = catch_unwind(AssertUnwindSafe(|| work(item)));
                    if sender.send((number, result)).is_err() {
                        return;
                    }
                }
            };
            if thread::Builder::new().spawn_scoped(scope, worker).is_err() {
                break;
            }
        }
        drop(sender);

        let mut waiting = BTreeMap::new();
        let mut next = 0;
        for (number, result) in results {
            waiting.insert(number, result);
            while let Some(result) = waiting.remove(&next) {
                next += 1;
                take(result.unwrap_or_else(|panic| resume_unwind(panic)))?;
                let _ = permit.send(());
            }
        }
        ControlFlow::Continue(())
    })?;

    // Nothing is left, unless no thread could be started.
    let Ok(mut queue) = queue.into_inner() else { return ControlFlow::Continue(()) };
    queue.items.try_for_each(|item| take(work(item)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn threads(number: usize) -> NonZero<usize> {
        NonZero::new(number).unwrap()
    }

    #[test]
    fn results_come_in_order_however_long_each_takes() {
        for number in [1, 2, 3, 8] {
            let mut taken = Vec::new();
            let work = |item: u64| {
                // The first of each eight takes longest.
                thread::sleep(Duration::from_micros(100 * (8 - item % 8)));
                item * item
            };
            let end = for_each_in_order(0..100_u64, threads(number), work, |result| {
                taken.push(result);
                ControlFlow::<()>::Continue(())
            });
            assert_eq!(end, ControlFlow::Continue(()));
            assert!(taken.into_iter().eq((0..100).map(|item| item * item)));
        }
    }

    #[test]
    fn a_number_of_threads_that_no_system_has_is_not_taken_literally() {
        let mut taken = 0;
        let end = for_each_in_order(
            0..100_u64,
            NonZero::<usize>::MAX,
            |item| item,
            |item| {
                taken += item;
                ControlFlow::<()>::Continue(())
            },
        );
        assert_eq!((end, taken), (ControlFlow::Continue(()), 99 * 100 / 2));
    }

    #[test]
    fn nobody_gets_far_ahead_of_what_is_taken() {
        for number in [1, 2, 8] {
            let (begun, mut taken) = (AtomicUsize::new(0), 0);
            let work = |item: usize| {
                begun.fetch_add(1, Ordering::SeqCst);
                item
            };
            let end = for_each_in_order(0..10_000, threads(number), work, |item| {
                taken += 1;
                // The first items are not the threads'.
                assert!(begun.load(Ordering::SeqCst) <= taken + number * AHEAD);
                if item == 100 { ControlFlow::Break(item) } else { ControlFlow::Continue(()) }
            });
            assert_eq!((end, taken), (ControlFlow::Break(100), 101));
            assert!(begun.into_inner() <= taken + number * AHEAD);
        }
    }

    #[test]
    fn a_panic_ends_all_threads_and_is_the_callers() {
        for number in [1, 2, 8] {
            let result = catch_unwind(|| {
                let work =
                    |item: u64| if item == 50 { resume_unwind(Box::new(item)) } else { item };
                let take = |item| {
                    assert!(item < 50);
                    ControlFlow::<()>::Continue(())
                };
                for_each_in_order(0..10_000_u64, threads(number), work, take)
            });
            assert_eq!(result.unwrap_err().downcast_ref(), Some(&50_u64));
        }
    }
}

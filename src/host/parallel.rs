//! Work for all processors, with answers in the order of the questions.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;

use super::interrupt;

/// What one processor did: answers by place, and where it failed.
type Share<R> = (Vec<(usize, R)>, Option<(usize, anyhow::Error)>);

/// What `work` answers for each of `items`, in their order, on all processors of this machine. After a failure nothing new is begun.
///
/// # Errors
/// The first failure by the order of `items` among those that happened; an interrupt.
///
/// # Panics
/// When `work` does.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let some = || -> Share<R> {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else { return (done, None) };
            match interrupt::check().map_err(Into::into).and_then(|()| work(item)) {
                Ok(answer) => done.push((place, answer)),
                Err(error) => {
                    next.store(items.len(), Ordering::Relaxed);
                    return (done, Some((place, error)));
                }
            }
        }
    };
    let processors = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let (mut answers, mut failed) = (Vec::with_capacity(items.len()), None);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..processors).map(|_| scope.spawn(some)).collect();
        for thread in threads {
            let (done, failure) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            answers.extend(done);
            failed = [failed.take(), failure].into_iter().flatten().min_by_key(|(place, _)| *place);
        }
    });
    match failed {
        Some((_, error)) => Err(error),
        None => {
            answers.sort_by_key(|(place, _)| *place);
            Ok(answers.into_iter().map(|(_, answer)| answer).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::map;

    #[test]
    fn answers_come_in_order_and_a_failure_ends_it() {
        let numbers: Vec<u32> = (0..1000).collect();
        assert_eq!(map(&numbers, |number| Ok(number * 2)).unwrap(), (0..2000).step_by(2).collect::<Vec<_>>());
        assert_eq!(map(&[] as &[u32], |_| Ok(())).unwrap(), []);
        let error = map(&numbers, |number| if *number == 7 { anyhow::bail!("seven") } else { Ok(()) }).unwrap_err();
        assert_eq!(error.to_string(), "seven");
    }
}

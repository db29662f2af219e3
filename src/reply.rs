//! The answer of a thread to a task that waits for it. It needs no runtime.
//!
//! The task's waker is user code. One that panics must not end the thread that answers.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use crate::sync::{contain, std_lock};

/// Where the thread puts the answer. Dropped without one, the task learns that there is none.
pub(crate) struct Replier<T>(Arc<Mutex<ReplySlot<T>>>);

/// The answer once it is there; `None` if there will be none.
pub(crate) struct Reply<T>(Arc<Mutex<ReplySlot<T>>>);

struct ReplySlot<T> {
    answer: Option<T>,
    has_ended: bool,
    waker: Option<Waker>,
}

pub(crate) fn reply<T>() -> (Replier<T>, Reply<T>) {
    let slot = ReplySlot { answer: None, has_ended: false, waker: None };
    let slot = Arc::new(Mutex::new(slot));
    (Replier(Arc::clone(&slot)), Reply(slot))
}

impl<T> Replier<T> {
    pub(crate) fn send(self, answer: T) {
        std_lock(&self.0).answer = Some(answer);
        // The drop wakes the task.
    }

    /// Whether nothing waits for the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl<T> Drop for Replier<T> {
    fn drop(&mut self) {
        let waker = {
            let mut slot = std_lock(&self.0);
            slot.has_ended = true;
            slot.waker.take()
        };
        if let Some(waker) = waker {
            contain(|| "the waker of a task that waits for an answer".to_owned(), || waker.wake());
        }
    }
}

impl<T> fmt::Debug for Replier<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replier").finish_non_exhaustive()
    }
}

impl<T> Future for Reply<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = std_lock(&self.0);
        if slot.has_ended {
            return Poll::Ready(slot.answer.take());
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Wake};

    use super::*;

    #[test]
    fn a_task_is_woken_by_its_answer_and_when_there_will_be_none() {
        let (replier, task) = reply();
        let mut task = tokio_test::task::spawn(task);
        assert!(task.poll().is_pending());
        assert!(!replier.is_abandoned());
        replier.send(7);
        assert!(task.is_woken());
        assert_eq!(task.poll(), Poll::Ready(Some(7)));

        let (replier, task) = reply::<u8>();
        let mut task = tokio_test::task::spawn(task);
        assert!(task.poll().is_pending());
        drop(replier);
        assert!(task.is_woken());
        assert_eq!(task.poll(), Poll::Ready(None));

        let (replier, task) = reply::<u8>();
        drop(task);
        assert!(replier.is_abandoned());
    }

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("this test provokes a panic");
        }
    }

    #[test]
    fn a_waker_that_panics_does_not_affect_the_thread_that_answers() {
        for answers in [true, false] {
            let (replier, task) = reply();
            let mut task = pin!(task);
            let waker = Waker::from(Arc::new(Panics));
            assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            if answers {
                replier.send(7);
            } else {
                drop(replier);
            }
            let answer = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(answer, Poll::Ready(answers.then_some(7)));
        }
    }
}

//! Where a test kills this very process, as a power cut would. Without the feature `failpoints` nothing of it is built in;
//! with it nothing happens until [`arm`] is called, which the program itself never does.

#[cfg(feature = "failpoints")]
pub use armed::{arm, names};
#[cfg(feature = "failpoints")]
pub(crate) use armed::{chunk, hit, in_parts};

/// A step is done: the process ends here if it is to.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) const fn hit(_step: &str) {}

/// How many of `whole` bytes go out at a time: `usual`, but half of them when the process is to end at this step between
/// two chunks.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) const fn chunk(_step: &str, _whole: usize, usual: usize) -> usize {
    usual
}

/// A request as it goes out: as it is, but with its body in two halves when the process is to end before or between them.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) const fn in_parts(request: reqwest::Request) -> reqwest::Request {
    request
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::{
        convert::Infallible,
        sync::{
            OnceLock,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use futures::{StreamExt as _, stream};
    use http::header::CONTENT_LENGTH;
    use reqwest::{Body, Request};
    use rustix::process::{Signal, getpid, kill_process};

    struct Armed {
        step: String,
        left: AtomicU32,
    }

    static ARMED: OnceLock<Armed> = OnceLock::new();

    /// Every step that [`arm`] knows, in the order in which a message passes them; then those of what comes back.
    pub const fn names() -> &'static [&'static str] {
        &[
            "planning",
            "dispatched",
            "claimed",
            "begun",
            "connected",
            "request_begun",
            "request_part",
            "body_part",
            "body_written",
            "answered",
            "recorded",
            "recovered",
            "asked",
            "begun_again",
            "reply_claimed",
            "reply_told",
            "reply_settled",
        ]
    }

    /// From now on the process is killed when it comes to `step` the `nth` time, counted from 1. Once only.
    pub fn arm(step: &str, nth: u32) -> Result<(), String> {
        if !names().contains(&step) {
            return Err(format!("{step} is no step; known: {}", names().join(", ")));
        }
        let armed = Armed {
            step: step.to_owned(),
            left: AtomicU32::new(nth),
        };
        ARMED
            .set(armed)
            .map_err(|_| "another step is armed".to_owned())
    }

    pub(crate) fn hit(step: &str) {
        let Some(armed) = ARMED.get().filter(|armed| armed.step == step) else {
            return;
        };
        if armed.left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        // SIGKILL: no destructor runs, no buffer is flushed.
        if let Err(error) = kill_process(getpid(), Signal::KILL) {
            tracing::error!(%error, "cannot kill this process");
        }
        loop {
            std::thread::park();
        }
    }

    pub(crate) fn in_parts(mut request: Request) -> Request {
        let is_armed = ARMED
            .get()
            .is_some_and(|it| it.step.starts_with("request_"));
        let body = request.body().and_then(Body::as_bytes);
        let Some(body) = body.filter(|body| is_armed && body.len() > 1) else {
            return request;
        };
        let length = body.len();
        let halves: Vec<Vec<u8>> = body
            .chunks(length.div_ceil(2))
            .map(<[u8]>::to_vec)
            .collect();
        let parts = stream::iter(halves)
            .enumerate()
            .then(|(number, half)| async move {
                if number == 0 {
                    // Connected, and the head is not on its way before the first half is there.
                    hit("request_begun");
                } else {
                    // The first half is on its way by then.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    hit("request_part");
                }
                Ok::<_, Infallible>(half)
            });
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
        *request.body_mut() = Some(Body::wrap_stream(parts));
        request
    }

    pub(crate) fn chunk(step: &str, whole: usize, usual: usize) -> usize {
        let armed = ARMED.get().is_some_and(|armed| armed.step == step);
        if armed { whole.div_ceil(2) } else { usual }
    }
}

//! Sending rows as a stream and taking the answers, a bounded number under way. A connection that breaks is made anew and
//! what was not answered is sent again: every row may be sent twice.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    time::Duration,
};

use anyhow::bail;
pub(crate) use countersign_runtime::client::Connection;
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};

/// Rows that are sent and not yet answered.
const WINDOW: usize = 256;

/// Waits between attempts to go on after a break; then it is given up.
const WAITS: [Duration; 8] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(15),
    Duration::from_secs(30),
];

/// Whether the same may be tried again.
pub(crate) fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Aborted
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
    )
}

/// Calls until the answer is one that will not change by asking again.
pub(crate) async fn call<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut waits = WAITS.iter();
    loop {
        match attempt().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if is_passing(&status) => match waits.next() {
                Some(wait) => sleep(*wait).await,
                None => return Err(status),
            },
            Err(status) => return Err(status),
        }
    }
}

/// The answer to a row.
pub(crate) trait Answer {
    /// Which row it belongs to.
    fn row(&self) -> i64;

    /// Why the service could not take the row just now, if the fault is not the row's.
    fn not_now(&self) -> Option<Status> {
        None
    }
}

/// How often a row is sent while the service says that it cannot take it just now, and takes others. More than there are
/// waits: when it takes no row at all the import breaks off, and no row is said to be refused.
const ATTEMPTS: u32 = 20;

/// The same for failures that are said not to pass, but may.
const ATTEMPTS_INTERNAL: u32 = 3;

/// Sends all rows through the stream that `open` opens; `answered` gets every answer with its request. A row that the
/// service could not take just now is sent again: that is no answer.
pub(crate) async fn stream<Q, A, F>(
    rows: impl Iterator<Item = anyhow::Result<(i64, Q)>>,
    mut open: impl FnMut(ReceiverStream<Q>) -> F,
    mut answered: impl FnMut(Q, A) -> anyhow::Result<()>,
) -> anyhow::Result<()>
where
    Q: Clone,
    A: Answer,
    F: Future<Output = Result<Response<Streaming<A>>, Status>>,
{
    let mut rows = rows.fuse();
    let mut pending: BTreeMap<i64, Q> = BTreeMap::new();
    let mut exhausted = false;
    let mut breaks = 0;
    let mut attempts: HashMap<i64, u32> = HashMap::new();
    loop {
        // Everything under way fits into the channel, so sending never waits.
        let (sender, receiver) = mpsc::channel(WINDOW);
        let mut sender = Some(sender);
        for request in pending.values() {
            offer(sender.as_ref(), request)?;
        }
        let broken = match open(ReceiverStream::new(receiver)).await {
            Err(status) => status,
            Ok(answers) => {
                let mut answers = answers.into_inner();
                loop {
                    while pending.len() < WINDOW && !exhausted {
                        match rows.next().transpose()? {
                            Some((row, request)) => {
                                offer(sender.as_ref(), &request)?;
                                pending.insert(row, request);
                            }
                            None => exhausted = true,
                        }
                    }
                    if exhausted {
                        sender = None;
                        if pending.is_empty() {
                            return Ok(());
                        }
                    }
                    match answers.message().await {
                        Ok(Some(answer)) => {
                            let row = answer.row();
                            if let Some(status) = answer.not_now() {
                                let count = attempts.entry(row).or_default();
                                *count += 1;
                                let attempts_max = match status.code() {
                                    Code::Internal => ATTEMPTS_INTERNAL,
                                    _ => ATTEMPTS,
                                };
                                if *count < attempts_max {
                                    break status;
                                }
                            }
                            breaks = 0;
                            attempts.remove(&row);
                            if let Some(request) = pending.remove(&row) {
                                answered(request, answer)?;
                            }
                        }
                        Ok(None) => {
                            break Status::unavailable("the service closed the stream early");
                        }
                        Err(status) => break status,
                    }
                }
            }
        };
        let Some(wait) = WAITS
            .get(breaks)
            .filter(|_| is_passing(&broken) || broken.code() == Code::Internal)
        else {
            bail!(
                "the import broke off: {}: {}",
                code_name(broken.code()),
                broken.message()
            );
        };
        breaks += 1;
        tracing::warn!(code = ?broken.code(), unanswered = pending.len(), "stream broke, going on");
        sleep(*wait).await;
    }
}

/// A receiver that is gone shows in the answers.
fn offer<Q: Clone>(sender: Option<&mpsc::Sender<Q>>, request: &Q) -> anyhow::Result<()> {
    match sender.map(|sender| sender.try_send(request.clone())) {
        Some(Err(mpsc::error::TrySendError::Full(_))) => {
            bail!("more rows are under way than there is room for")
        }
        Some(Ok(()) | Err(mpsc::error::TrySendError::Closed(_))) | None => Ok(()),
    }
}

/// The code as the API writes it: `INVALID_ARGUMENT`.
pub(crate) fn code_name(code: Code) -> String {
    let mut name = String::new();
    for it in format!("{code:?}").chars() {
        if it.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(it.to_ascii_uppercase());
    }
    name
}

/// The code that has this name.
pub(crate) fn code_of(name: &str) -> Code {
    (0..=16)
        .map(Code::from)
        .find(|code| code_name(*code) == name)
        .unwrap_or(Code::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_the_api() {
        assert_eq!(code_name(Code::InvalidArgument), "INVALID_ARGUMENT");
        assert_eq!(code_name(Code::NotFound), "NOT_FOUND");
        assert_eq!(code_name(Code::Ok), "OK");
        assert_eq!(code_of("NOT_FOUND"), Code::NotFound);
        assert_eq!(code_of("ABORTED"), Code::Aborted);
        assert_eq!(code_of("SOMETHING_NEW"), Code::Unknown);
    }
}

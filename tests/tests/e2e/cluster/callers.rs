//! Callers who send orders and do not give up.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use countersign_e2e::order_builder;
use countersign_proto::v1::{self, order_service_client::OrderServiceClient};
use futures::future::join_all;
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};

const CALLERS: u32 = 16;
/// What a caller allows for a call.
const DEADLINE: Duration = Duration::from_secs(3);
/// Between two orders of one caller: the machine has other things to do.
const PAUSE: Duration = Duration::from_millis(150);
/// No outage lasts so long.
const PATIENCE: Duration = Duration::from_mins(4);

/// What they know and do.
#[derive(Default)]
pub(super) struct Callers {
    stop: AtomicBool,
    repeated: AtomicU32,
    numbers: AtomicU32,
    /// What was acknowledged: names by reference.
    acknowledged: Mutex<BTreeMap<String, String>>,
    moments: Mutex<Vec<Instant>>,
}

impl Callers {
    /// Sends orders to these services until it is told to stop. A call that fails is made again, with the same id, to the
    /// other service, until it is answered.
    pub(super) async fn run(&self, services: &[SocketAddr]) {
        let channels: Vec<Channel> = services
            .iter()
            .map(|address| {
                Endpoint::from_shared(format!("http://{address}"))
                    .unwrap()
                    .tcp_nodelay(true)
                    .connect_timeout(Duration::from_millis(500))
                    .connect_lazy()
            })
            .collect();
        join_all((0..CALLERS).map(|number| self.send(number, &channels))).await;
    }

    async fn send(&self, number: u32, channels: &[Channel]) {
        let mut turn = number as usize;
        while !self.stop.load(Ordering::Acquire) {
            // Half of the customers can only be mailed, the others only be texted.
            let request = order_builder()
                .with(|order| {
                    let contact = order.contact.get_or_insert_default();
                    if number.is_multiple_of(2) {
                        contact.phone.clear();
                    } else {
                        contact.email.clear();
                        contact.phone = self.another_number();
                    }
                })
                .request();
            let began = Instant::now();
            while !self.call(&channels[turn % channels.len()], &request).await {
                self.repeated.fetch_add(1, Ordering::AcqRel);
                turn += 1;
                assert!(began.elapsed() < PATIENCE, "{request:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A number that no other customer has, nor one that begins alike.
    fn another_number(&self) -> String {
        let nth = u64::from(self.numbers.fetch_add(1, Ordering::AcqRel));
        format!("138{:08}", nth * 10_007 % 100_000_000)
    }

    /// Whether it was answered.
    async fn call(&self, channel: &Channel, order: &v1::CreateOrderRequest) -> bool {
        let mut request = Request::new(order.clone());
        request.set_timeout(DEADLINE);
        let mut client = OrderServiceClient::new(channel.clone());
        // The service may take longer than it is allowed to; who asks does not wait for it.
        let asked = tokio::time::timeout(DEADLINE, client.create_order(request));
        let Ok(answer) = asked.await else {
            return false;
        };
        match answer {
            Ok(order) => {
                let order = order.into_inner();
                locked(&self.acknowledged).insert(order.client_reference, order.name);
                locked(&self.moments).push(Instant::now());
                true
            }
            Err(status) => {
                let passing = [
                    Code::Unavailable,
                    Code::Aborted,
                    Code::Cancelled,
                    Code::DeadlineExceeded,
                    Code::ResourceExhausted,
                ];
                assert!(passing.contains(&status.code()), "{status:?}");
                false
            }
        }
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Calls that had to be made again.
    pub(super) fn repeated(&self) -> u32 {
        self.repeated.load(Ordering::Acquire)
    }

    /// Names of the acknowledged orders by reference.
    pub(super) fn acknowledged(&self) -> BTreeMap<String, String> {
        locked(&self.acknowledged).clone()
    }

    /// Waits until so many more were acknowledged.
    pub(super) async fn more(&self, orders: usize) {
        let (began, before) = (Instant::now(), locked(&self.moments).len());
        while locked(&self.moments).len() < before + orders {
            assert!(began.elapsed() < PATIENCE, "orders are not acknowledged");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Acknowledgements between two moments.
    pub(super) fn between(&self, from: Instant, to: Instant) -> usize {
        let moments = locked(&self.moments);
        moments.iter().filter(|it| from < **it && **it < to).count()
    }

    /// The longest time without an acknowledgement since a moment.
    pub(super) fn longest_gap_since(&self, from: Instant) -> Duration {
        let mut moments: Vec<Instant> = locked(&self.moments).clone();
        moments.sort_unstable();
        let later: Vec<Instant> = moments.into_iter().filter(|it| *it > from).collect();
        let starts = std::iter::once(from).chain(later.iter().copied());
        let gaps = starts.zip(&later).map(|(start, end)| *end - start);
        gaps.max().unwrap_or_default()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

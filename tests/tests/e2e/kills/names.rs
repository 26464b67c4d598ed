//! A gateway whose name leads nowhere at first and then to one machine after the other.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use countersign_domain::message::AttemptOutcome;
use countersign_notification::testkit::GatewayStub;
use countersign_store::testing::TestDatabase;
use tokio::{net::TcpListener, sync::watch};

use super::stage::{PATIENCE, SECRET, Stage};

/// From the moment at which a name leads somewhere else: the file has no lifetime of entries, so nothing is added to it.
const BOUND: Duration = Duration::from_secs(30);
/// Time that is let pass instead of waited for: longer than the first pause after a failure.
const PASSED: TimeDelta = TimeDelta::seconds(10);

/// A machine: an address at which connections lead to a gateway, until it is switched off.
async fn machine(at: SocketAddr, gateway: String) -> (watch::Sender<bool>, u16) {
    let listener = TcpListener::bind(at).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (on, seen) = watch::channel(true);
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (mut seen, gateway) = (seen.clone(), gateway.clone());
            tokio::spawn(async move {
                if !*seen.borrow_and_update() {
                    return;
                }
                let mut server = tokio::net::TcpStream::connect(gateway).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    _ = seen.changed() => {}
                }
            });
        }
    });
    (on, port)
}

fn host(gateway: &GatewayStub) -> String {
    let base = gateway.base();
    let rest = base.strip_prefix("http://").unwrap();
    rest.split('/').next().unwrap().to_owned()
}

/// Tries that did not get out.
async fn not_sent(stage: &Stage) -> usize {
    let all = stage.deliveries().await;
    let tries = all.iter().flat_map(|it| &it.history);
    tries
        .filter(|it| it.outcome == AttemptOutcome::NotSent)
        .count()
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_09_a_gateway_whose_name_moves_is_found_again_without_a_restart() {
    let mut stage = Stage::on(TestDatabase::sqlite().await).await;
    let second = GatewayStub::start_forgetful(SECRET).await;
    let (old, port) = machine("127.0.0.2:0".parse().unwrap(), host(&stage.gateways.texts)).await;
    let new_at = SocketAddr::from(([127, 0, 0, 3], port));
    let _new = machine(new_at, host(&second)).await;
    let names = stage.lead_names();
    stage.texts_base = Some(
        stage
            .gateways
            .texts
            .base()
            .replace(&host(&stage.gateways.texts), &format!("localhost:{port}")),
    );

    stage.order(false, true).await;
    let mut worker = stage.worker(None);
    until("a try that finds no name", async || {
        not_sent(&stage).await > 0
    })
    .await;
    assert_eq!(stage.gateways.texts.accepted().len(), 0);

    let leads = Instant::now();
    fs::write(&names, "127.0.0.2 localhost\n").unwrap();
    stage.pass(PASSED, Some(&mut worker)).await;
    until("both texts by the first machine", async || {
        stage.gateways.texts.accepted().len() == 2
    })
    .await;
    assert!(leads.elapsed() + PASSED.to_std().unwrap() < BOUND);

    // The name is gone, and what was there is switched off: connections that were kept lead nowhere either.
    let missed = not_sent(&stage).await;
    fs::write(&names, "").unwrap();
    old.send_replace(false);
    stage.order(false, true).await;
    until("a try while there is no such name", async || {
        not_sent(&stage).await > missed
    })
    .await;
    assert_eq!(second.accepted().len(), 0);

    // It comes back as another machine's.
    let moved = Instant::now();
    fs::write(&names, "127.0.0.3 localhost\n").unwrap();
    stage.pass(PASSED, Some(&mut worker)).await;
    until("both texts by the second machine", async || {
        second.accepted().len() == 2
    })
    .await;
    assert!(moved.elapsed() + PASSED.to_std().unwrap() < BOUND);
    assert_eq!(stage.gateways.texts.accepted().len(), 2);
    assert!(worker.ended().await, "{}", stage.log());
}

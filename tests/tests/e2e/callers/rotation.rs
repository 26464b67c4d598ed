//! Certificates are replaced while calls are made.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign_e2e::Replica;
use countersign_runtime::config::Client;
use countersign_store::testing::TestDatabase;
use tokio::{sync::watch, task::JoinSet};

use super::{
    authority::{Authority, But, Folder, gate},
    try_call,
};

/// Authorities that take over from one another.
const ROTATIONS: usize = 10;

/// A caller that makes a new connection for each call, with what it has at the moment.
async fn keep_calling(
    address: std::net::SocketAddr,
    clients: watch::Receiver<Client>,
    made: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) {
    while !stop.load(Ordering::Acquire) {
        let client = clients.borrow().clone();
        try_call(address, &client).await.unwrap();
        made.fetch_add(1, Ordering::AcqRel);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j_11_authorities_and_certificates_are_replaced_ten_times_and_no_call_fails() {
    let folder = Folder::new();
    let mut authority = Authority::new("authority 0");
    let callers = folder.callers(&authority, &[("shop", &["ORDER_WRITER"])]);
    let gate = gate(&callers).await;
    let database = TestDatabase::sqlite().await;
    let store = database.store.clone();
    let replica = Replica::start_behind(store, gate.clone()).await;
    let shown = |number: usize, authority: &Authority, believed: &str| {
        let issued = authority.caller("shop", But::Good);
        folder.client(&format!("shop-{number}"), Some(&issued), believed)
    };
    let (sender, clients) = watch::channel(shown(0, &authority, &authority.pem()));
    let (made, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let mut load = JoinSet::new();
    for _ in 0..3 {
        load.spawn(keep_calling(
            replica.address,
            clients.clone(),
            made.clone(),
            stop.clone(),
        ));
    }
    let calls = |more: usize| {
        let made = made.clone();
        async move {
            let until = made.load(Ordering::Acquire) + more;
            while made.load(Ordering::Acquire) < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    for number in 1..=ROTATIONS {
        calls(6).await;
        let next = Authority::new(&format!("authority {number}"));
        let both = format!("{}{}", authority.pem(), next.pem());
        // First everybody believes both, then the new one makes the certificates, then the old one goes.
        folder.write("clients.ca", &both);
        assert!(gate.reload().await.unwrap());
        sender.send_replace(shown(3 * number, &authority, &both));
        calls(6).await;
        let server = next.server();
        folder.write("server.crt", &server.certificate);
        folder.write("server.key", &server.key);
        assert!(gate.reload().await.unwrap());
        sender.send_replace(shown(3 * number + 1, &next, &both));
        calls(6).await;
        folder.write("clients.ca", &next.pem());
        assert!(gate.reload().await.unwrap());
        sender.send_replace(shown(3 * number + 2, &next, &next.pem()));
        authority = next;
    }
    calls(6).await;
    stop.store(true, Ordering::Release);
    while let Some(one) = load.join_next().await {
        one.unwrap();
    }
    assert_eq!(gate.refusals().take(), []);

    // What was believed at the beginning is not any more, and a file that is wrong changes nothing.
    let old = Authority::new("authority 0");
    let refused = try_call(replica.address, &shown(100, &old, &authority.pem())).await;
    assert!(refused.is_err());
    folder.write("server.crt", "this is no certificate");
    assert!(gate.reload().await.is_err());
    try_call(replica.address, &shown(101, &authority, &authority.pem()))
        .await
        .unwrap();
}

//! Who may call, and what of whom they see: real certificates over real sockets.

mod authority;
mod orders;
mod rotation;
mod tokens;

use std::{net::SocketAddr, time::Duration};

use countersign_e2e::{Replica, System, link_key};
use countersign_notification::Deps;
use countersign_proto::access::METHODS;
use countersign_runtime::{
    callers::{Gate, word},
    client::{Connection, connect, connect_lazily},
    config::{Client, Config},
    lifecycle::Lifecycle,
};
use countersign_store::testing::TestDatabase;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;

use authority::{Authority, But, Folder, gate};

const ROLES: [&str; 7] = [
    "ORDER_WRITER",
    "WAREHOUSE",
    "AGENT",
    "OPERATOR",
    "REPORTER",
    "ADMIN",
    "WORKER",
];

fn url(address: SocketAddr) -> String {
    format!("https://{address}")
}

/// Calls a method with nothing in it; a stream that says nothing for a while was let in.
async fn call(connection: &Connection, path: &str) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(connection.clone());
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(format!("{error:?}")))?;
    let path = path.parse().unwrap();
    let codec = ProstCodec::<(), ()>::default();
    let answer = client.unary(Request::new(()), path, codec);
    match tokio::time::timeout(Duration::from_secs(2), answer).await {
        Ok(answer) => answer.map(|_| ()),
        Err(_) => Ok(()),
    }
}

async fn try_call(address: SocketAddr, client: &Client) -> Result<(), Status> {
    let connection = connect(&url(address), "whoever", client)
        .await
        .map_err(|error| Status::unavailable(format!("{error:#}")))?;
    call(&connection, "/countersign.v1.OrderService/ListOrders").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j_01_only_a_certificate_of_ours_that_is_good_and_names_a_caller_opens_the_door() {
    let (ours, strangers) = (Authority::new("ours"), Authority::new("strangers"));
    let folder = Folder::new();
    let mut callers = folder.callers(&ours, &[("shop", &["ORDER_WRITER"])]);
    callers.tls.client_crl_file = Some(folder.write("clients.crl", &ours.revocations()));
    let gate = gate(&callers).await;
    let database = TestDatabase::sqlite().await;
    let store = database.store.clone();
    let replica = Replica::start_behind(store, gate.clone()).await;

    let good = ours.caller("shop", But::Good);
    let known = folder.client("shop", Some(&good), &ours.pem());
    try_call(replica.address, &known).await.unwrap();
    assert_eq!(gate.refusals().take(), []);

    // These do not get as far as a call.
    let at_the_door = [
        ("nothing", None),
        ("wrong authority", Some(strangers.caller("shop", But::Good))),
        ("expired", Some(ours.caller("shop", But::Expired))),
        ("revoked", Some(ours.caller("shop", But::Revoked))),
    ];
    for (what, issued) in &at_the_door {
        let client = folder.client("other", issued.as_ref(), &ours.pem());
        let refused = try_call(replica.address, &client).await.unwrap_err();
        assert_ne!(refused.code(), Code::Unauthenticated, "{what}: {refused:?}");
        assert!(refused.get_error_details().error_info().is_none(), "{what}");
        // The alert of TLS reaches the caller before the server has written it down.
        let mut noted = gate.refusals().take();
        for _ in 0..500 {
            if !noted.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            noted = gate.refusals().take();
        }
        assert!(!noted.is_empty(), "{what} is not on record");
        assert!(noted.iter().all(|it| it.method == "handshake"), "{noted:?}");
    }

    // Of our authority, and nobody that we know.
    let unknown = ours.caller("somebody", But::Good);
    let client = folder.client("other", Some(&unknown), &ours.pem());
    let refused = try_call(replica.address, &client).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(
        refused.get_error_details().error_info().unwrap().reason,
        "CERTIFICATE_UNKNOWN"
    );
    // Even what would be wrong otherwise, or what no method is, is not looked at.
    let connection = connect(&url(replica.address), "shop", &client)
        .await
        .unwrap();
    for path in [
        "/countersign.v1.OrderService/CreateOrder",
        "/no.Such/Method",
    ] {
        let refused = call(&connection, path).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{path}");
    }
    let noted = gate.refusals().take();
    assert_eq!(noted.iter().map(|it| it.count).sum::<i64>(), 3);
    assert!(noted.iter().all(|it| it.caller == "unauthenticated"));
    assert!(noted.iter().all(|it| it.code == "UNAUTHENTICATED"));
    assert!(noted.iter().all(|it| it.peer == "LOOPBACK"));

    // Without encryption there is no talk at all.
    let plain = format!("http://{}", replica.address);
    let refused = match connect(&plain, "shop", &Client::default()).await {
        Ok(connection) => call(&connection, "/countersign.v1.OrderService/ListOrders").await,
        Err(error) => Err(Status::unavailable(format!("{error:#}"))),
    };
    let refused = refused.unwrap_err();
    let wanted = format!("call it by https://{}", replica.address);
    assert!(refused.message().contains(&wanted), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_takes_one_of_its_roles() {
    let authority = Authority::new("ours");
    let folder = Folder::new();
    let known = ROLES.map(|role| (role, [role]));
    let known: Vec<(&str, &[&str])> = known
        .iter()
        .map(|(name, roles)| (*name, &roles[..]))
        .collect();
    let gate = gate(&folder.callers(&authority, &known)).await;
    let system = System::sqlite().await;
    let replica = Replica::start_behind(system.store.clone(), gate.clone()).await;
    let mut connections = Vec::new();
    for role in ROLES {
        let issued = authority.caller(role, But::Good);
        let client = folder.client(role, Some(&issued), &authority.pem());
        let connection = connect(&url(replica.address), role, &client).await.unwrap();
        connections.push((role, connection));
    }
    let mut denied = 0;
    for (path, roles) in METHODS {
        let words: Vec<_> = roles.iter().map(|role| word(*role)).collect();
        for (role, connection) in &connections {
            let outcome = call(connection, path).await;
            let code = outcome.as_ref().err().map(Status::code);
            if words.contains(role) {
                assert_ne!(code, Some(Code::PermissionDenied), "{role} {path}");
                assert_ne!(code, Some(Code::Unauthenticated), "{role} {path}");
                continue;
            }
            denied += 1;
            let status = outcome.unwrap_err();
            assert_eq!(status.code(), Code::PermissionDenied, "{role} {path}");
            let details = status.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!(info.reason, "ROLE_NEEDED");
            assert_eq!(info.metadata["roles"], words.join(","), "{path}");
            assert_eq!(info.metadata["method"], *path);
        }
    }
    let noted = gate.refusals().take();
    let noted: i64 = noted
        .iter()
        .filter(|it| it.code == "PERMISSION_DENIED")
        .map(|it| it.count)
        .sum();
    assert_eq!(noted, denied);
}

const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
const HEALTH: &str = "/grpc.health.v1.Health/Check";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j_12_methods_are_not_told_where_callers_are_asked_and_health_is() {
    let authority = Authority::new("ours");
    let folder = Folder::new();
    let mut callers = folder.callers(&authority, &[("shop", &["ORDER_WRITER"])]);
    let database = TestDatabase::sqlite().await;
    let store = database.store.clone();
    let somebody = authority.caller("somebody", But::Good);
    let somebody = folder.client("somebody", Some(&somebody), &authority.pem());
    let shop = authority.caller("shop", But::Good);
    let shop = folder.client("shop", Some(&shop), &authority.pem());
    for told in [None, Some(true)] {
        callers.reflection = told;
        let gate = gate(&callers).await;
        let replica = Replica::start_behind(store.clone(), gate).await;
        let unknown = connect(&url(replica.address), "x", &somebody)
            .await
            .unwrap();
        // A supervisor is no caller.
        call(&unknown, HEALTH).await.unwrap();
        let known = connect(&url(replica.address), "x", &shop).await.unwrap();
        for path in REFLECTION {
            let refused = call(&unknown, path).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated);
            let code = call(&known, path).await.err().map(|it| it.code());
            assert_eq!(
                code == Some(Code::Unimplemented),
                told.is_none(),
                "{code:?}"
            );
        }
    }
    // On a developer's machine they are.
    let replica = Replica::start_behind(store, Gate::open()).await;
    let plain = format!("http://{}", replica.address);
    let connection = connect(&plain, "x", &Client::default()).await.unwrap();
    for path in REFLECTION {
        let code = call(&connection, path).await.err().map(|it| it.code());
        assert_ne!(code, Some(Code::Unimplemented));
    }
}

/// Where programs that are scraped, or looked into, tell of themselves.
const PRIVATE: [&str; 6] = [
    "/metrics",
    "/stats/prometheus",
    "/debug/pprof/",
    "/debug/vars",
    "/actuator/prometheus",
    "/config",
];

/// What a port answers to whoever asks for a page.
async fn page(port: SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(port).await.unwrap();
    let asked = format!("GET {path} HTTP/1.1\r\nhost: {port}\r\nconnection: close\r\n\r\n");
    connection.write_all(asked.as_bytes()).await.unwrap();
    let mut told = Vec::new();
    connection.read_to_end(&mut told).await.unwrap();
    String::from_utf8_lossy(&told).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j_12_the_worker_tells_no_figures_and_no_methods_to_whoever_comes_from_outside() {
    let authority = Authority::new("ours");
    let folder = Folder::new();
    let callers = folder.callers(&authority, &[("staff", &["OPERATOR"])]);
    let database = TestDatabase::sqlite().await;
    let http_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let grpc_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (http, grpc) = (
        http_listener.local_addr().unwrap(),
        grpc_listener.local_addr().unwrap(),
    );
    let lifecycle = Lifecycle::new(Duration::from_secs(5));
    let deps = Deps {
        config: Config::default(),
        store: database.store.clone(),
        link_key: link_key(),
        http_listener,
        gate: gate(&callers).await,
        grpc_listener,
        order_service: connect_lazily("http://127.0.0.1:9", "worker", &Client::default()).unwrap(),
    };
    countersign_notification::run(deps, &lifecycle)
        .await
        .unwrap();

    // Figures are pushed to a collector; neither port has a page of them.
    for path in PRIVATE {
        let told = page(http, path).await;
        assert!(told.starts_with("HTTP/1.1 404 "), "{path}: {told}");
        for name in ["sent_total", "attempts_total", "# TYPE"] {
            assert!(!told.contains(name), "{path}: {told}");
        }
    }
    let strangers = authority.caller("somebody", But::Good);
    let stranger = folder.client("somebody", Some(&strangers), &authority.pem());
    let staff = authority.caller("staff", But::Good);
    let staff = folder.client("staff", Some(&staff), &authority.pem());
    let unknown = connect(&url(grpc), "x", &stranger).await.unwrap();
    let known = connect(&url(grpc), "x", &staff).await.unwrap();
    call(&unknown, HEALTH).await.unwrap();
    for path in REFLECTION.into_iter().chain(["/metrics"]) {
        let refused = call(&unknown, path).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{path}");
        let refused = call(&known, path).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{path}");
    }
    lifecycle.shutdown();
    lifecycle.run().await.unwrap();
}

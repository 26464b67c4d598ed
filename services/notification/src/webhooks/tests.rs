use std::sync::atomic::{AtomicUsize, Ordering};

use countersign_runtime::config::Webhooks;
use reqwest::dns::Resolve as _;
use std::{net::SocketAddr, sync::Arc};

use super::guard::{ForbiddenAddress, Guard, UrlProblem};

/// Leads every name to these addresses, one list after the other.
fn guard(config: &Webhooks, answers: &'static [&'static [&'static str]]) -> Guard {
    let asked = AtomicUsize::new(0);
    Guard::with_lookup(
        config,
        Arc::new(move |_| {
            let at = asked.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            let found: Vec<SocketAddr> = answers[at]
                .iter()
                .map(|it| SocketAddr::new(it.parse().unwrap(), 0))
                .collect();
            Box::pin(async move { Ok(found) })
        }),
    )
}

fn strict() -> Guard {
    guard(&Webhooks::default(), &[&["93.184.216.34"]])
}

#[tokio::test]
async fn j_05_no_private_address_is_taken_however_it_is_written() {
    for host in [
        "127.0.0.1",
        "127.255.255.254",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::1]",
        "[100::1]",
        "[2001::1]",
        "[2001:2::1]",
        "[2001:10::1]",
        "[2001:20::1]",
        "[2001:db8::1]",
        "[2002:7f00:1::]",
        "[3fff::1]",
        "[5f00::1]",
        "[fc00::1]",
        "[fd12:3456::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
    ] {
        let url = format!("https://{host}/hooks");
        let found = strict().check(&url).await;
        assert_eq!(found, Err(UrlProblem::Forbidden), "{host}");
    }
    for host in ["[fe80::1%eth0]", "[fe80::1%25eth0]", "127.0.0.1.", "::1"] {
        let url = format!("https://{host}/hooks");
        assert!(strict().check(&url).await.is_err(), "{host}");
    }
    for host in [
        "93.184.216.34",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "172.32.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "[2606:4700::1111]",
        "[2001:200::1]",
        "[2a00:1450:4001::1]",
        "partner.example",
        "partner.example:8443",
    ] {
        let url = format!("https://{host}/hooks?tenant=7");
        assert_eq!(strict().check(&url).await, Ok(()), "{host}");
    }
}

#[tokio::test]
async fn j_05_a_name_is_taken_only_where_it_leads_to_a_public_address() {
    let url = "https://partner.example/hooks";
    for private in [&["10.0.0.1"][..], &["::1", "169.254.169.254"]] {
        let answers: &'static [&'static [&'static str]] = Box::leak(Box::new([private]));
        let found = guard(&Webhooks::default(), answers).check(url).await;
        assert_eq!(found, Err(UrlProblem::Forbidden), "{private:?}");
    }
    let lost = Guard::with_lookup(
        &Webhooks::default(),
        Arc::new(|_| Box::pin(async { Err(std::io::ErrorKind::NotFound.into()) })),
    );
    assert_eq!(lost.check(url).await, Err(UrlProblem::UnknownHost));
}

#[tokio::test]
async fn j_05_a_name_that_changes_its_address_leads_nowhere_when_it_is_connected_to() {
    let rebinding = guard(&Webhooks::default(), &[&["93.184.216.34"], &["127.0.0.1"]]);
    let url = "https://partner.example/hooks";
    assert_eq!(rebinding.check(url).await, Ok(()));
    let connected = rebinding.resolve("partner.example".parse().unwrap()).await;
    assert!(connected.err().unwrap().is::<ForbiddenAddress>());
    // Of several addresses only the public ones are connected to.
    let mixed = guard(&Webhooks::default(), &[&["127.0.0.1", "93.184.216.34"]]);
    let found = mixed.resolve("partner.example".parse().unwrap()).await;
    let found: Vec<String> = found.unwrap().map(|it| it.ip().to_string()).collect();
    assert_eq!(found, ["93.184.216.34"]);
}

#[tokio::test]
async fn what_is_no_address_for_an_endpoint_is_told_what_would_be_right() {
    let long = format!("https://partner.example/{}", "a".repeat(2_048));
    for (url, problem) in [
        ("", UrlProblem::NotAUrl),
        ("partner.example/hooks", UrlProblem::NotAUrl),
        ("http://partner.example/hooks", UrlProblem::Scheme),
        ("ftp://partner.example/hooks", UrlProblem::Scheme),
        ("file:///etc/passwd", UrlProblem::Scheme),
        (
            "https://me:secret@partner.example/",
            UrlProblem::Credentials,
        ),
        ("https://me@partner.example/", UrlProblem::Credentials),
        ("https://partner.example/#part", UrlProblem::Fragment),
        (long.as_str(), UrlProblem::TooLong),
    ] {
        assert_eq!(strict().check(url).await, Err(problem), "{url}");
    }
    assert_eq!(
        UrlProblem::Forbidden.to_string(),
        "must not lead to a private address"
    );
}

#[tokio::test]
async fn a_company_may_let_its_own_networks_and_plain_http_in() {
    let own = Webhooks {
        allowed_networks: vec!["10.20.0.0/16".parse().unwrap(), "::1/128".parse().unwrap()],
        allow_http: true,
    };
    let guard = guard(&own, &[&["10.20.30.40"]]);
    for url in [
        "http://10.20.1.1/hooks",
        "https://[::1]/hooks",
        "http://partner.example/",
    ] {
        assert_eq!(guard.check(url).await, Ok(()), "{url}");
    }
    let other = guard.check("http://10.21.1.1/hooks").await;
    assert_eq!(other, Err(UrlProblem::Forbidden));
}

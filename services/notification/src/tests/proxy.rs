//! The customers' pages behind a proxy of ours.

use reqwest::{Client, StatusCode};

use super::Stage;

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a customer's browser, on this machine"
)]
async fn behind_a_proxy_that_names_them_customers_have_limits_of_their_own() {
    let stage = Stage::new(|config| {
        config.notification.client_ip_header = Some("x-forwarded-for".to_owned());
    })
    .await;
    let client = Client::builder().build().unwrap();
    let url = format!("http://{}/o/AAAAAAAAAAAAAAAAAAAAAA", stage.http);
    let open = async |customer: &str| {
        let request = client.get(&url).header("x-forwarded-for", customer);
        request.send().await.unwrap().status()
    };
    let mut opened = 0;
    while open("192.0.2.1").await == StatusCode::NOT_FOUND {
        opened += 1;
        assert!(opened < 5_000, "nobody is ever slowed down");
    }
    assert!(opened >= 60, "slowed down after {opened}");
    assert_eq!(open("192.0.2.1").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(open("192.0.2.2").await, StatusCode::NOT_FOUND);
    stage.end().await;
}

use countersign_domain::{
    confirmation::{Objection, ObjectionCategory},
    decide::NewOrder,
    order::OrderState,
    secrets::token_hash,
    tracking::TrackingStatus,
};
use reqwest::header::{CONTENT_TYPE, COOKIE};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    browser::{Page, client, multipart},
    stage::{Stage, line, new_order},
};
use crate::pages::{CustomerAnswer, Limits, MAX_FORM_BYTES};

fn two_lines() -> NewOrder {
    new_order(
        "en",
        "WEB-1001",
        vec![
            line("Green tea", "250 g, loose", 2, 5_990),
            line("Tea pot", "0.8 l", 1, 12_800),
        ],
    )
}

async fn opened(stage: &mut Stage) -> (countersign_domain::ids::OrderId, Page) {
    let id = stage.order(&two_lines()).await.id;
    let page = Page::open(&format!("{}/o/{}", stage.url, stage.token(id))).await;
    (id, page)
}

#[tokio::test]
async fn f_19_the_page_shows_the_order_with_name_and_place_masked_and_asks_for_the_answer() {
    let mut stage = Stage::new().await;
    let (_, page) = opened(&mut stage).await;
    for shown in [
        "Please confirm your order",
        "WEB-1001",
        "Green tea",
        "250 g, loose",
        "2 pcs × 59.90 CNY",
        "119.80 CNY",
        "254.80 CNY",
        "-5.00 CNY",
        "Cash on delivery",
        "For W**, 上海",
        "the order counts as confirmed",
        "Asia/Shanghai (UTC+8)",
        "Yes, this is right",
        "400-800-1234",
    ] {
        assert!(page.has(shown), "{shown} is missing in\n{}", page.html);
    }
    assert!(!page.has("canary"), "{}", page.html);
    assert!(!page.has("Canary"), "{}", page.html);
    assert!(!page.has("200001"));
}

#[tokio::test]
async fn the_page_speaks_the_orders_language_and_the_one_asked_for() {
    let mut stage = Stage::new().await;
    let order = new_order("zh-CN", "W-1", vec![line("龙井茶", "特级", 1, 100)]);
    let id = stage.order(&order).await.id;
    let url = format!("{}/o/{}", stage.url, stage.token(id));
    let page = Page::open(&url).await;
    assert!(page.has("<html lang=\"zh-CN\">") && page.has("确认，内容无误"));
    let page = Page::open(&format!("{url}?lang=en")).await;
    assert!(page.has("<html lang=\"en\">") && page.has("Yes, this is right"));
}

#[tokio::test]
async fn opening_the_page_a_hundred_times_changes_nothing() {
    let mut stage = Stage::with(|settings| settings.limits.client_burst = 1_000.0).await;
    let (id, page) = opened(&mut stage).await;
    let before = stage.store().find_order(id).await.unwrap();
    let rounds = stage.store().list_rounds(id).await.unwrap();
    for action in ["", "/confirm", "/object", "/ask"] {
        for _ in 0..25 {
            let url = format!("{}{action}", page.url);
            let status = client().get(&url).send().await.unwrap().status();
            assert_eq!(status, if action.is_empty() { 200 } else { 404 });
            client().head(&url).send().await.unwrap();
        }
    }
    assert_eq!(stage.inbox.answers(), []);
    assert_eq!(stage.store().find_order(id).await.unwrap(), before);
    assert_eq!(stage.store().list_rounds(id).await.unwrap(), rounds);
}

#[tokio::test]
async fn a_yes_is_handed_over_once_and_shown_until_and_after_it_is_applied() {
    let mut stage = Stage::new().await;
    let (id, page) = opened(&mut stage).await;
    let fields = [
        ("form_token", &*page.hidden("form_token")),
        ("round", &*page.hidden("round")),
    ];
    let after = page.send("confirm", &fields).await;
    assert!(after.has("You confirmed this order."));
    assert!(after.has("is being recorded"));
    assert!(!after.has("Yes, this is right"));
    assert_eq!(
        page.form("confirm", &fields).send().await.unwrap().status(),
        303
    );
    let total = stage.store().find_order(id).await.unwrap().unwrap().total;
    assert_eq!(
        stage.inbox.answers(),
        [CustomerAnswer::Confirm {
            round: 1,
            amount: Some(total)
        }]
    );

    stage.apply_yes(id).await;
    let page = Page::open(&page.url).await;
    let order = stage.store().find_order(id).await.unwrap().unwrap();
    let number = order.order_number.unwrap().to_string();
    for shown in [
        "You confirmed this order.",
        "on this page",
        &number,
        &format!("Delivery note {number}-1"),
        "2 kinds of goods, 3 units",
        "Please pay the driver 254.80 CNY.",
        "Promised by",
        "Order received",
        "Order confirmed",
    ] {
        assert!(page.has(shown), "{shown} is missing in\n{}", page.html);
    }
    assert!(!page.has("is being recorded"));
    assert!(!page.has("Yes, this is right"));
}

#[tokio::test]
async fn a_no_carries_category_lines_and_words() {
    let mut stage = Stage::new().await;
    let (id, page) = opened(&mut stage).await;
    let words = "茶".repeat(2_000);
    let after = page
        .send_multipart(
            "object",
            &[
                ("form_token", &page.hidden("form_token")),
                ("round", "1"),
                ("category", "QUANTITY"),
                ("line", "2"),
                ("line", "1"),
                ("line", "2"),
                ("text", &words),
            ],
        )
        .await;
    assert!(after.has("You told us that something is wrong."));
    let objection = Objection {
        category: ObjectionCategory::Quantity,
        line_numbers: vec![1, 2],
        text: words,
    };
    assert_eq!(
        stage.inbox.answers(),
        [CustomerAnswer::Object {
            round: 1,
            objection: objection.clone()
        }]
    );

    stage.apply_no(id, &objection).await;
    let page = Page::open(&page.url).await;
    for shown in ["You objected", "The quantity is wrong", "Lines 1, 2"] {
        assert!(page.has(shown), "{shown} is missing in\n{}", page.html);
    }
    assert!(!page.has("茶茶"), "the customer's words are shown again");
}

#[tokio::test]
async fn an_objection_that_names_no_category_or_unknown_lines_is_refused() {
    let mut stage = Stage::new().await;
    let (_, page) = opened(&mut stage).await;
    let token = page.hidden("form_token");
    let too_long = "a".repeat(2_001);
    for wrong in [
        [("category", ""), ("line", "1"), ("text", "")],
        [("category", "EVERYTHING"), ("line", "1"), ("text", "")],
        [("category", "GOODS"), ("line", "3"), ("text", "")],
        [("category", "GOODS"), ("line", "x"), ("text", "")],
        [("category", "GOODS"), ("line", "1"), ("text", &too_long)],
        [("category", "GOODS"), ("line", "1"), ("text", "a\u{0}b")],
    ] {
        let mut fields = vec![("form_token", token.as_str()), ("round", "1")];
        fields.extend(wrong);
        let status = page.form("object", &fields).send().await.unwrap().status();
        assert_eq!(status, 400, "{wrong:?}");
    }
    for round in ["", "0", "2", "-1", "99999999999"] {
        let fields = [("form_token", token.as_str()), ("round", round)];
        let status = page.form("confirm", &fields).send().await.unwrap().status();
        assert_eq!(status, 400, "round {round}");
    }
    assert_eq!(stage.inbox.answers(), []);
}

#[tokio::test]
async fn the_second_tab_sees_the_first_answer_and_its_own_is_handed_over_to_be_judged() {
    let mut stage = Stage::new().await;
    let (_, first) = opened(&mut stage).await;
    let second = Page::open(&first.url).await;
    let token = first.hidden("form_token");
    first
        .send("confirm", &[("form_token", &token), ("round", "1")])
        .await;
    let after = second
        .send(
            "object",
            &[
                ("form_token", &second.hidden("form_token")),
                ("round", "1"),
                ("category", "PRICE"),
            ],
        )
        .await;
    assert!(after.has("You confirmed this order."));
    assert!(!after.has("You told us that something is wrong."));
    assert_eq!(stage.inbox.answers().len(), 2);
}

#[tokio::test]
async fn a_question_is_handed_over_once_for_each_time_the_form_was_opened() {
    let mut stage = Stage::new().await;
    let (_, page) = opened(&mut stage).await;
    let fields = [
        ("form_token", &*page.hidden("form_token")),
        ("form_id", &*page.hidden("form_id")),
        ("text", " When\r\ndoes it come? "),
    ];
    let after = page.send_multipart("ask", &fields).await;
    assert!(after.has("We have your message."));
    page.send_multipart("ask", &fields).await;
    assert_eq!(
        stage.inbox.answers(),
        [CustomerAnswer::Ask {
            text: "When\ndoes it come?".into()
        }]
    );
}

#[tokio::test]
async fn f_20_forms_from_elsewhere_are_refused() {
    let mut stage = Stage::new().await;
    let (_, page) = opened(&mut stage).await;
    let another = new_order("en", "WEB-1002", two_lines().lines);
    let other = stage.order(&another).await.id;
    let other = Page::open(&format!("{}/o/{}", stage.url, stage.token(other))).await;
    let (mine, theirs) = (page.hidden("form_token"), other.hidden("form_token"));
    assert_ne!(mine, theirs);
    let (cookie, attributes) = page.cookie.split_once(';').unwrap();
    assert!(attributes.contains("SameSite=Strict") && attributes.contains("HttpOnly"));
    let (other_cookie, _) = other.cookie.split_once(';').unwrap();

    let send = async |cookie: Option<&str>, site: Option<&str>, token: &str| {
        let mut request = client()
            .post(format!("{}/confirm", page.url))
            .form(&[("form_token", token), ("round", "1")]);
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, cookie);
        }
        if let Some(site) = site {
            request = request.header("sec-fetch-site", site);
        }
        request.send().await.unwrap().status()
    };
    for site in ["cross-site", "same-site", "none", "Same-Origin"] {
        assert_eq!(send(Some(cookie), Some(site), &mine).await, 403, "{site}");
    }
    let same = Some("same-origin");
    assert_eq!(send(None, same, &mine).await, 403);
    assert_eq!(send(Some(other_cookie), same, &mine).await, 403);
    assert_eq!(send(Some(cookie), same, &theirs).await, 403);
    assert_eq!(send(Some(cookie), same, "").await, 403);
    assert_eq!(stage.inbox.answers(), []);
    // A browser too old for Sec-Fetch-Site still gets through.
    assert_eq!(send(Some(cookie), None, &mine).await, 303);
    assert_eq!(stage.inbox.answers().len(), 1);
}

/// A link to an order that has been over for more than half a year.
async fn expired(stage: &mut Stage) -> String {
    let order = new_order("en", "WEB-EXPIRED", vec![line("Tea", "old", 1, 100)]);
    let id = stage.order(&order).await.id;
    stage.cancel(id).await;
    stage.store().shift_clock(chrono::Duration::days(181));
    stage.token(id)
}

/// A link in whose place there is another, and that one.
async fn rotated(stage: &mut Stage) -> (String, String) {
    let order = new_order("en", "WEB-ROTATED", vec![line("Tea", "new", 1, 100)]);
    let id = stage.order(&order).await.id;
    let (old, new) = (stage.token(id), stage.key.link_token(id, 2));
    let hex = |token: &str| data_encoding::HEXUPPER.encode(&token_hash(token));
    let sql = format!(
        "UPDATE order_links SET token_hash = X'{}', generation = 2 WHERE token_hash = X'{}'",
        hex(&new),
        hex(&old)
    );
    stage.database.execute(&sql).await;
    (old, new)
}

#[tokio::test]
async fn f_15_every_bad_link_gets_the_same_answer() {
    let mut stage = Stage::new().await;
    let expired = expired(&mut stage).await;
    let (rotated, current) = rotated(&mut stage).await;
    let (id, page) = opened(&mut stage).await;
    let new_link = format!("{}/o/{current}", stage.url);
    assert!(Page::open(&new_link).await.has("WEB-ROTATED"));
    let tampered = {
        let token = stage.token(id);
        let flipped = if token.starts_with('A') { "B" } else { "A" };
        format!("{flipped}{}", &token[1..])
    };
    let next_generation = stage.key.link_token(id, 2);
    let mut bodies = Vec::new();
    for token in [
        tampered.as_str(),
        &next_generation,
        &expired,
        &rotated,
        "x",
        "%00",
        "%F0%9F%8D%B5",
        &"a".repeat(5_000),
        "AAAAAAAAAAAAAAAAAAAAAA",
    ] {
        for method in ["GET", "POST"] {
            let path = if method == "GET" { "" } else { "/confirm" };
            let url = format!("{}/o/{token}{path}", stage.url);
            let request = client()
                .request(method.parse().unwrap(), url)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 404, "{method} {token}");
            let mut headers = response.headers().clone();
            headers.remove("date");
            bodies.push((headers, response.bytes().await.unwrap()));
        }
    }
    let nowhere = client()
        .get(format!("{}/no/such/page", stage.url))
        .send()
        .await
        .unwrap();
    assert_eq!(nowhere.status(), 404);
    let mut headers = nowhere.headers().clone();
    headers.remove("date");
    bodies.push((headers, nowhere.bytes().await.unwrap()));
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(!bodies[0].0.contains_key("set-cookie"));
    assert!(page.has("WEB-1001"));
}

#[tokio::test]
async fn f_15_bad_links_of_every_kind_take_the_same_time() {
    let mut stage = Stage::new().await;
    let expired = expired(&mut stage).await;
    let (rotated, _) = rotated(&mut stage).await;
    let (id, _) = opened(&mut stage).await;
    let good = stage.token(id);
    let flipped = if good.starts_with('A') { "B" } else { "A" };
    let kinds = [
        expired,
        rotated,
        format!("{flipped}{}", &good[1..]),
        stage.key.link_token(id, 2),
        "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        "x".to_owned(),
    ];
    let client = client();
    let mut times = vec![Vec::new(); kinds.len()];
    for _ in 0..60 {
        // In turn, so that whatever else the machine does falls on all of them.
        for (token, times) in kinds.iter().zip(&mut times) {
            let begun = std::time::Instant::now();
            let url = format!("{}/o/{token}", stage.url);
            let answer = client.get(url).send().await.unwrap();
            let status = answer.status();
            answer.bytes().await.unwrap();
            // The limit for one client is not what is measured.
            if status == 429 {
                tokio::time::sleep(std::time::Duration::from_millis(250)).await;
                continue;
            }
            assert_eq!(status, 404);
            times.push(begun.elapsed());
        }
    }
    let medians: Vec<std::time::Duration> = times
        .iter_mut()
        .map(|times| {
            assert!(times.len() >= 10, "{}", times.len());
            times.sort_unstable();
            times[times.len() / 2]
        })
        .collect();
    let (fast, slow) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    assert!(
        slow.saturating_sub(*fast) < std::time::Duration::from_millis(10),
        "{medians:?}"
    );
}

#[tokio::test]
async fn a_link_to_an_order_that_is_over_ends_after_half_a_year() {
    let mut stage = Stage::new().await;
    let (id, page) = opened(&mut stage).await;
    let shut = client()
        .get(format!("{}/o/x", stage.url))
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    stage.cancel(id).await;
    assert!(Page::open(&page.url).await.has("Cancelled"));
    stage.store().shift_clock(chrono::Duration::days(181));
    let response = client().get(&page.url).send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(response.bytes().await.unwrap(), shut);
}

#[tokio::test]
async fn f_19_every_answer_has_the_headers_that_keep_the_link_secret() {
    let mut stage = Stage::new().await;
    let (_, page) = opened(&mut stage).await;
    for url in [
        page.url.clone(),
        format!("{}/o/x", stage.url),
        format!("{}/healthz", stage.url),
        format!("{}/", stage.url),
    ] {
        let response = client().get(&url).send().await.unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap();
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-content-type-options"), "nosniff");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("script"), "{policy}");
    }
}

#[tokio::test]
async fn naughty_words_are_shown_and_do_nothing() {
    let naughty = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "{{ 7 * 7 }}{% raw %}{quantity}",
        "' OR 1=1 --",
        "a\u{202E}gpj.exe",
        "z\u{200B}ero",
        "</style><b>",
    ];
    let mut stage = Stage::new().await;
    let lines = naughty.iter().map(|it| line(it, it, 1, 100)).collect();
    let mut order = new_order("en", naughty[0], lines);
    order.terms.delivery.address.locality = naughty[1].into();
    order.terms.contact.display_name = naughty[0].into();
    let id = stage.order(&order).await.id;
    stage.apply_yes(id).await;
    stage.track(id, TrackingStatus::InTransit, naughty[1]).await;
    let page = Page::open(&format!("{}/o/{}", stage.url, stage.token(id))).await;
    for harmful in ["<script", "<img", "\u{202E}", "\u{200B}", "</style><b>"] {
        assert!(!page.has(harmful), "{harmful} in\n{}", page.html);
    }
    for shown in [
        "&lt;script&gt;alert(1)",
        "{{ 7 * 7 }}{% raw %}{quantity}",
        "‹U+202E›",
        "‹U+200B›",
        "For s**, ",
    ] {
        assert!(page.has(shown), "{shown} is missing in\n{}", page.html);
    }
}

#[tokio::test]
async fn the_timeline_tells_news_of_the_goods_without_the_drivers_words() {
    let mut stage = Stage::new().await;
    let (id, page) = opened(&mut stage).await;
    stage.apply_yes(id).await;
    stage.track(id, TrackingStatus::PickedUp, "Hub West").await;
    stage
        .track(id, TrackingStatus::DeliveryDelayed, "Hub East")
        .await;
    stage.track(id, TrackingStatus::Delivered, "").await;
    let page = Page::open(&page.url).await;
    let position = |text: &str| {
        let (_, timeline) = page.html.split_once("What has happened").unwrap();
        timeline.find(text).unwrap_or_else(|| panic!("{text}"))
    };
    assert!(position("Delayed") < position("Handed to the carrier"));
    assert!(position("Handed to the carrier") < position("Order confirmed"));
    assert!(page.has("Hub East · Reason: the weather"));
    assert!(!page.has("Canary"));
    let order = stage.store().find_order(id).await.unwrap().unwrap();
    assert_eq!(order.state, OrderState::Delivered);
}

#[tokio::test]
async fn f_22_too_long_forms_and_files_are_refused() {
    let mut stage = Stage::new().await;
    let (_, page) = opened(&mut stage).await;
    let token = page.hidden("form_token");
    for length in [MAX_FORM_BYTES + 1, 1_000_000] {
        let long = "a".repeat(length);
        let fields = [("form_token", token.as_str()), ("text", long.as_str())];
        let response = page.form("ask", &fields).send().await.unwrap();
        assert_eq!(response.status(), 413, "{length} bytes");
        let request = page.multipart_form("ask", multipart(&fields));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 413, "{length} bytes as multipart");
    }
    // Ten million bytes, whether or not they are waited for.
    let address = stage.url.strip_prefix("http://").unwrap();
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let path = page.url.strip_prefix(&stage.url).unwrap();
    let head = format!(
        "POST {path}/ask HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: 10000000\r\n\r\ntext="
    );
    tcp.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = tcp.split();
    let pour = async {
        // The server may hang up whenever it likes.
        let body = vec![b'a'; 9_999_995];
        writer.write_all(&body).await.ok();
    };
    let mut answer = [0; 12];
    let ((), read) = tokio::join!(pour, reader.read_exact(&mut answer));
    read.unwrap();
    assert_eq!(answer, *b"HTTP/1.1 413");
    let file = "--XyZ\r\nContent-Disposition: form-data; name=\"text\"; filename=\"a.zip\"\r\n\
                Content-Type: application/zip\r\n\r\nPK\r\n--XyZ--\r\n";
    let request = page.multipart_form("ask", file.to_owned());
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(stage.inbox.answers(), []);
}

#[tokio::test]
async fn an_answer_that_the_inbox_did_not_take_is_not_shown_as_received() {
    let mut stage = Stage::new().await;
    let (_, page) = opened(&mut stage).await;
    *stage.inbox.broken.lock().unwrap() = true;
    let fields = [("form_token", &*page.hidden("form_token")), ("round", "1")];
    let response = page.form("confirm", &fields).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(Page::open(&page.url).await.has("Yes, this is right"));
    *stage.inbox.broken.lock().unwrap() = false;
    assert!(page.send("confirm", &fields).await.has("being recorded"));
}

#[tokio::test]
async fn f_21_after_the_deadline_the_page_takes_no_answer_but_hands_a_late_one_over() {
    let mut stage = Stage::new().await;
    let (_, page) = opened(&mut stage).await;
    stage.store().shift_clock(chrono::Duration::hours(3));
    let late = Page::open(&page.url).await;
    assert!(late.has("The time to answer is over."));
    assert!(!late.has("Yes, this is right"));
    let fields = [("form_token", &*page.hidden("form_token")), ("round", "1")];
    page.send("confirm", &fields).await;
    assert_eq!(
        stage.inbox.answers(),
        [CustomerAnswer::Confirm {
            round: 1,
            amount: None
        }]
    );
}

#[tokio::test]
async fn f_17_a_client_that_tries_many_links_is_slowed_down() {
    let stage = Stage::with(|settings| {
        settings.limits = Limits {
            client_per_second: 0.1,
            client_burst: 20.0,
            ..Limits::default()
        };
        settings.client_ip_header = Some("x-real-ip".parse().unwrap());
    })
    .await;
    let guess = async |n: u32, ip: &str| {
        client()
            .get(format!("{}/o/AAAAAAAAAAAAAAAAAAA{n:03}", stage.url))
            .header("x-real-ip", ip)
            .send()
            .await
            .unwrap()
    };
    for n in 0..20 {
        assert_eq!(guess(n, "192.0.2.1").await.status(), 404);
    }
    let refused = guess(20, "192.0.2.1").await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(guess(21, "192.0.2.2").await.status(), 404);
    // What the client claims itself stands before what our proxy wrote.
    assert_eq!(guess(22, "203.0.113.9, 192.0.2.1").await.status(), 429);
}

//! The commands that staff use, as processes of their own, against a worker.

use std::process::Output;

use countersign_notification::testkit::{Answer, GatewayStub};
use tokio::process::Command;

use crate::{program::program, stand::Stand};

async fn run(stand: &Stand, words: &[&str]) -> Output {
    let url = format!("http://{}", stand.worker);
    Command::new(program().await)
        .args(words)
        .args(["--url", &url])
        .output()
        .await
        .unwrap()
}

/// What a command says that succeeds.
async fn said(stand: &Stand, words: &[&str]) -> String {
    let done = run(stand, words).await;
    let wrong = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{words:?}: {wrong}");
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test]
async fn staff_keep_words_and_put_them_in_force_by_commands() {
    let stand = Stand::with(|_| {}).await;
    let which = ["SURVEY", "sms", "en"];
    let with = |verb: &'static str, more: &[&'static str]| -> Vec<&'static str> {
        let mut words = vec!["template", verb];
        words.extend(which);
        words.extend(more);
        words
    };
    let listed = said(&stand, &["template", "list"]).await;
    assert!(
        listed.lines().count() > 50 && listed.contains("PROGRAM"),
        "{listed}"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("survey.jinja");
    let path: &'static str = Box::leak(file.display().to_string().into_boxed_str());
    let page = said(&stand, &with("show", &[])).await;
    std::fs::write(&file, page.replace("{{ order }}", "{{ oder }}")).unwrap();
    let why = ["--reason", "as tested"];
    let wrong = run(&stand, &with("create", &[path, why[0], why[1]])).await;
    let told = String::from_utf8(wrong.stderr).unwrap();
    assert!(
        !wrong.status.success() && told.contains("nothing is called oder"),
        "{told}"
    );
    std::fs::write(
        &file,
        page.replace("{{ company.name }}", "{{ company.name }}!"),
    )
    .unwrap();
    let shown = said(&stand, &with("preview", &["--file", path])).await;
    assert!(shown.contains("text message(s)"), "{shown}");
    let made = said(&stand, &with("create", &[path, why[0], why[1]])).await;
    assert!(made.contains("version 1"), "{made}");
    let done = said(&stand, &with("activate", &["1", why[0], why[1]])).await;
    assert!(done.contains("DATABASE  1 of 1 in force"), "{done}");
    let versions = said(&stand, &with("versions", &[])).await;
    assert!(
        versions.contains("operator: as tested  in force"),
        "{versions}"
    );
    let back = said(
        &stand,
        &with("deactivate", &["--instead-of", "1", why[0], why[1]]),
    )
    .await;
    assert!(back.contains("PROGRAM  none of 1 in force"), "{back}");
}

#[tokio::test]
async fn staff_look_after_partners_by_commands() {
    let stand = Stand::with(|config| {
        config.webhooks.allow_http = true;
        config.webhooks.allowed_networks = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let partner = GatewayStub::start("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").await;
    partner.always(Answer::Status(200, String::new(), String::new()));
    let base = partner.base();
    let why = ["--reason", "as tested", "--actor", "wang"];
    let with = |words: &[&str]| -> Vec<String> {
        let all = ["webhook"].iter().chain(words).chain(&why);
        all.map(|&word| word.to_owned()).collect()
    };
    let act = async |words: &[&str]| {
        let words = with(words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        said(&stand, &words).await
    };
    assert_eq!(said(&stand, &["webhook", "list"]).await, "no endpoints\n");
    let made = act(&[
        "create",
        &base,
        "--event",
        "order.confirmed",
        "--description",
        "the shop",
    ])
    .await;
    assert!(
        made.contains("ENABLED") && made.contains("secret whsec_"),
        "{made}"
    );
    let name = made.split_whitespace().next().unwrap().to_owned();
    let tried = act(&["test", &name]).await;
    assert!(tried.contains("webhook.test"), "{tried}");
    let mut told = String::new();
    for _ in 0..200 {
        told = said(&stand, &["webhook", "deliveries", &name]).await;
        if told.contains("DELIVERED") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(
        told.contains("DELIVERED") && told.contains("1 tries"),
        "{told}"
    );
    let event = told
        .split_whitespace()
        .find(|it| it.starts_with("webhookDeliveries/"))
        .unwrap();
    assert!(
        act(&["replay", &name, "--delivery", event])
            .await
            .contains("1 told again")
    );
    assert!(act(&["disable", &name]).await.contains("DISABLED"));
    assert!(act(&["enable", &name]).await.contains("ENABLED"));
    assert!(
        act(&["update", &name, "--all-events"])
            .await
            .contains("everything")
    );
    let rotated = act(&["rotate-secret", &name]).await;
    let secret = |text: &str| text.split("secret ").nth(1).unwrap().trim().to_owned();
    assert_ne!(secret(&rotated), secret(&made));
    assert_eq!(act(&["delete", &name]).await, "deleted\n");
    assert_eq!(said(&stand, &["webhook", "list"]).await, "no endpoints\n");
}

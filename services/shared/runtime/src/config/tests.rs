mod callers;
mod twilio;

use std::{fs, path::Path};

use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::*;

const WEBHOOK_SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const DATA_KEYS: &str = "lookup:BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ= 2:BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=";

fn with_file(text: &str) -> (TempDir, Sources) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("countersign.toml");
    fs::write(&path, text).unwrap();
    (
        folder,
        Sources {
            file: Some(path),
            ..Sources::default()
        },
    )
}

fn with_environment(pairs: &[(&str, &str)]) -> Sources {
    Sources {
        environment: owned(pairs),
        ..Sources::default()
    }
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn refusal(sources: &Sources) -> String {
    Config::load(sources).unwrap_err().to_string()
}

#[test]
fn the_defaults_work_without_any_source() {
    let config = Config::load(&Sources::default()).unwrap();

    assert_eq!(config.order.listen.to_string(), "127.0.0.1:50051");
    assert_eq!(config.notification.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.order.batch_orders_max, 128);
    assert_eq!(config.email.transport, EmailTransport::Mailbox);
    assert!(config.is_embedded());
}

#[test]
fn the_file_beats_defaults_the_environment_beats_the_file_and_flags_beat_all() {
    let (_folder, mut sources) = with_file(
        "[order]\ncommitters = 3\nbatch_orders_max = 7\n[company]\nname = \"Acme\"\n[notification]\nworkers = 5\n",
    );
    sources.environment = owned(&[
        ("COUNTERSIGN__ORDER__COMMITTERS", "4"),
        ("COUNTERSIGN__NOTIFICATION__WORKERS", "6"),
        ("PATH", "/bin"),
    ]);
    let sources = sources
        .flag("notification.workers", Some("9"))
        .flag("order.listen", None);

    let config = Config::load(&sources).unwrap();

    assert_eq!(config.order.committers, 4);
    assert_eq!(config.order.batch_orders_max, 7);
    assert_eq!(config.company.name, "Acme");
    assert_eq!(config.notification.workers, 9);
    assert_eq!(config.limits.call_deadline_ms, 10_000);
}

#[test]
fn database_url_and_smtp_url_are_honoured_and_our_own_variables_beat_them() {
    let mut sources = with_environment(&[
        ("DATABASE_URL", "sqlite://elsewhere.db"),
        ("SMTP_URL", "smtp://user:pw@mail:587?tls=required"),
    ]);
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.database.url.expose_secret(), "sqlite://elsewhere.db");
    assert_eq!(
        config.email.url.unwrap().expose_secret(),
        "smtp://user:pw@mail:587?tls=required"
    );
    assert_eq!(config.email.transport, EmailTransport::Smtp);

    sources.environment.extend(owned(&[
        ("COUNTERSIGN__DATABASE__URL", "sqlite://ours.db"),
        ("COUNTERSIGN__EMAIL__TRANSPORT", "mailbox"),
    ]));
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.database.url.expose_secret(), "sqlite://ours.db");
    assert_eq!(config.email.transport, EmailTransport::Mailbox);
}

#[test]
fn an_empty_database_url_counts_as_not_set() {
    let config = Config::load(&with_environment(&[("DATABASE_URL", "")])).unwrap();
    assert!(config.is_embedded());
}

#[test]
fn an_unknown_key_is_refused_by_name_in_the_file_and_in_the_environment() {
    let (_folder, sources) = with_file("[order]\ncomitters = 3\n");
    let message = refusal(&sources);
    assert!(
        message.contains("unknown key order.comitters in "),
        "{message}"
    );
    assert!(
        message.contains("countersign.toml; known there: listen, committers"),
        "{message}"
    );

    let (_folder, sources) = with_file("[odrer]\ncommitters = 3\n");
    assert!(refusal(&sources).contains("unknown key odrer in "));

    let message = refusal(&with_environment(&[("COUNTERSIGN__ORDER__COMITTERS", "3")]));
    assert!(
        message.contains("unknown key order.comitters in the environment"),
        "{message}"
    );

    let message = refusal(&with_environment(&[("COUNTERSIGN__COMMITTERS", "3")]));
    assert!(message.contains("COUNTERSIGN__SECTION__KEY"), "{message}");
}

#[test]
fn text_of_digits_stays_text_and_a_number_must_be_one() {
    let config = Config::load(&with_environment(&[
        ("COUNTERSIGN__COMPANY__PHONE", "8008108888"),
        ("COUNTERSIGN__COMPANY__NAME", "360"),
    ]))
    .unwrap();
    assert_eq!(config.company.phone.as_deref(), Some("8008108888"));
    assert_eq!(config.company.name, "360");

    let message = refusal(&with_environment(&[(
        "COUNTERSIGN__ORDER__COMMITTERS",
        "two",
    )]));
    assert!(
        message.starts_with("order.committers in the environment: expected"),
        "{message}"
    );
}

#[test]
fn secrets_are_read_from_files_and_a_value_of_a_higher_layer_displaces_the_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("url");
    fs::write(&path, "mysql://app:s3cret@db/shop\n").unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "0123456789abcdef0123456789abcdef\n").unwrap();
    let data_keys = folder.path().join("data-keys");
    fs::write(&data_keys, DATA_KEYS.replace(' ', "\n")).unwrap();
    let (path, key) = (path.to_str().unwrap(), key.to_str().unwrap());
    let mut sources = with_environment(&[
        ("COUNTERSIGN__DATABASE__URL_FILE", path),
        ("COUNTERSIGN__LINKS__KEY_FILE", key),
        (
            "COUNTERSIGN__PERSONAL_DATA__KEYS_FILE",
            data_keys.to_str().unwrap(),
        ),
    ]);

    let config = Config::load(&sources).unwrap();
    assert_eq!(
        config.database.url.expose_secret(),
        "mysql://app:s3cret@db/shop"
    );
    assert_eq!(config.links.key.unwrap().expose_secret().len(), 32);
    let keys = config
        .personal_data
        .keys_or_create(Path::new("/nowhere"), [[0; 32]; 2]);
    assert_eq!(keys.unwrap().numbered, [(2, [5; 32])]);

    sources.flags = owned(&[("database.url", "sqlite://flag.db")]);
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.database.url.expose_secret(), "sqlite://flag.db");
    assert_eq!(config.database.url_file, None);

    sources
        .environment
        .extend(owned(&[("COUNTERSIGN__DATABASE__URL", "sqlite://x.db")]));
    assert!(refusal(&sources).contains("give url or url_file, not both"));
}

#[test]
fn a_missing_file_is_named() {
    let sources = Sources {
        file: Some("/nowhere/countersign.toml".into()),
        ..Sources::default()
    };
    assert_eq!(refusal(&sources), "read /nowhere/countersign.toml");

    let sources = with_environment(&[("COUNTERSIGN__LINKS__KEY_FILE", "/nowhere/key")]);
    assert_eq!(
        refusal(&sources),
        "links.key_file names /nowhere/key, which cannot be read (a relative path counts from the working directory)"
    );
}

#[test]
fn every_bad_field_is_named_at_once() {
    let (_folder, sources) = with_file(
        r#"
        [database]
        url = "postgres://app:s3cret@db/shop"
        max_connections = 0
        [order]
        committers = 0
        default_region = "china"
        [notification]
        listen = "127.0.0.1:50051"
        public_url = "shop.example.com"
        client_ip_header = "x forwarded for"
        [email]
        transport = "smtp"
        from = "nobody"
        [sms]
        base_url = "https://user:s3cret@sms.example.com"
        secret = "s3cret"
        [links]
        key = "short"
        [personal_data]
        keys = "1:s3cret"
        [telemetry]
        log_filter = "countersign=loud"
        [shutdown]
        grace_seconds = 0
        "#,
    );

    let message = refusal(&sources);

    for key in [
        "database.url",
        "database.max_connections",
        "order.committers",
        "order.default_region",
        "notification.listen",
        "notification.public_url",
        "notification.client_ip_header",
        "email.url",
        "email.from",
        "sms.base_url",
        "sms.secret",
        "links.key",
        "personal_data.keys",
        "telemetry.log_filter",
        "shutdown.grace_seconds",
    ] {
        assert!(
            message.contains(&format!("\n  {key}: ")),
            "{key} is missing in {message}"
        );
    }
    assert!(!message.contains("s3cret"), "{message}");
}

#[test]
fn a_database_server_needs_keys_that_all_processes_share() {
    let message = refusal(&with_environment(&[(
        "DATABASE_URL",
        "mysql://app@db/shop",
    )]));
    assert!(
        message.contains("links.key: is needed next to a database server"),
        "{message}"
    );
    assert!(
        message.contains("personal_data.keys: is needed next to a database server"),
        "{message}"
    );
}

#[test]
fn no_secret_is_ever_shown() {
    let (_folder, sources) = with_file(&format!(
        r#"
        database.url = "mysql://app:s3cret@db/shop"
        email.url = "smtp://user:s3cret@mail?tls=required"
        sms = {{ base_url = "https://sms.example.com", secret = "{WEBHOOK_SECRET}" }}
        phone = {{ base_url = "https://calls.example.com", secret = "{WEBHOOK_SECRET}" }}
        links.key = "s3cret-s3cret-s3cret-s3cret-s3cret"
        personal_data.keys = "{DATA_KEYS}"
        "#
    ));
    let config = Config::load(&sources).unwrap();

    let shown = config.redacted();
    for text in [
        shown.clone(),
        config.to_string(),
        format!("{config:?}"),
        format!("{:?}", config.sms),
    ] {
        assert!(
            !text.contains("s3cret") && !text.contains("whsec_") && !text.contains("lookup:"),
            "{text}"
        );
    }
    assert!(
        shown.contains("url = \"mysql://app:[redacted]@db/shop\""),
        "{shown}"
    );
    assert!(
        shown.contains("url = \"smtp://user:[redacted]@mail?tls=required\""),
        "{shown}"
    );
    assert!(shown.contains("key = \"[redacted]\""), "{shown}");
    assert!(shown.contains("transport = \"gateway\""), "{shown}");
    assert!(toml::from_str::<toml::Table>(&shown).is_ok());
}

#[test]
fn a_broken_file_is_named_by_line_without_repeating_it() {
    let (_folder, sources) = with_file("[database]\nurl = \"mysql://app:s3cret@db\n");
    let message = refusal(&sources);
    assert!(message.contains("countersign.toml, line 2: "), "{message}");
    assert!(!message.contains("s3cret"), "{message}");

    let (_folder, sources) = with_file("database = \"mysql://app:s3cret@db\"\n");
    let message = refusal(&sources);
    assert!(
        message.starts_with("database in ") && !message.contains("s3cret"),
        "{message}"
    );
}

#[test]
fn a_development_key_is_made_once_and_kept_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("var/link.key");
    let links = Links::default();

    let first = links.key_or_create(&path, [1; 32]).unwrap();
    let second = links.key_or_create(&path, [2; 32]).unwrap();

    assert_eq!(first.expose_secret(), second.expose_secret());
    assert!(first.expose_secret().len() >= Links::MIN_KEY_BYTES);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);

    fs::write(&path, "short").unwrap();
    assert!(matches!(
        links.key_or_create(&path, [3; 32]),
        Err(LinkKeyError::Short { .. })
    ));

    let configured = Links {
        key: Some("k".repeat(32).into()),
        key_file: None,
        key_is_lost: false,
    };
    assert_eq!(
        configured
            .key_or_create(&path, [4; 32])
            .unwrap()
            .expose_secret(),
        "k".repeat(32)
    );
}

const ALIBABA: &str = r#"
    [sms]
    transport = "alibaba"
    [sms.alibaba]
    access_key_id = "LTAI"
    access_key_secret = "s3cret"
    sign_name = "华贸易"
    callback_secret = "s3cret-s3cret-s3cret"
    [sms.alibaba.templates.zh-CN.CONFIRMATION_REQUEST]
    code = "SMS_1"
    variables = { no = "order", token = "link_token" }
"#;

#[test]
fn a_cloud_is_configured_with_its_texts_and_shown_without_its_secrets() {
    let (folder, sources) = with_file(ALIBABA);
    let config = Config::load(&sources).unwrap();
    let alibaba = config.sms.alibaba.as_ref().unwrap();
    let text = &alibaba.templates["zh-CN"]["CONFIRMATION_REQUEST"];
    assert_eq!(text.code, "SMS_1");
    assert_eq!(text.variables["token"], "link_token");
    for shown in [config.redacted(), format!("{:?}", config.sms)] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    assert!(toml::from_str::<toml::Table>(&config.redacted()).is_ok());

    let key = folder.path().join("key");
    std::fs::write(&key, "from-a-file\n").unwrap();
    let text = ALIBABA.replace(
        "access_key_secret = \"s3cret\"",
        &format!("access_key_secret_file = {:?}", key.display().to_string()),
    );
    let (_folder, sources) = with_file(&text);
    let config = Config::load(&sources).unwrap();
    let secret = config.sms.alibaba.unwrap().access_key_secret.unwrap();
    assert_eq!(secret.expose_secret(), "from-a-file");
}

#[test]
fn a_secret_of_a_cloud_may_stand_in_a_variable() {
    let (_folder, mut sources) = with_file(ALIBABA);
    sources.environment = owned(&[(
        "COUNTERSIGN__SMS__ALIBABA__ACCESS_KEY_SECRET",
        "from-a-variable",
    )]);
    let config = Config::load(&sources).unwrap();
    let secret = config.sms.alibaba.unwrap().access_key_secret.unwrap();
    assert_eq!(secret.expose_secret(), "from-a-variable");
}

#[test]
fn every_bad_field_of_a_cloud_is_named_at_once() {
    let (_folder, sources) = with_file(
        r#"
        [sms]
        transport = "alibaba"
        [sms.alibaba]
        base_url = "dysmsapi.aliyuncs.com"
        callback_secret = "s3cret/short"
        value_chars_max = 0
        [sms.alibaba.templates.zh-CN.CONFIRMATION_REQUEST]
        variables = { url = "link" }
        [phone]
        transport = "tencent"
        "#,
    );
    let message = refusal(&sources);
    for key in [
        "sms.alibaba.access_key_id",
        "sms.alibaba.access_key_secret",
        "sms.alibaba.sign_name",
        "sms.alibaba.callback_secret",
        "sms.alibaba.base_url",
        "sms.alibaba.value_chars_max",
        "sms.alibaba.templates.zh-CN.CONFIRMATION_REQUEST.code",
        "sms.alibaba.templates.zh-CN.CONFIRMATION_REQUEST.variables",
        "phone.transport",
    ] {
        assert!(
            message.contains(&format!("\n  {key}: ")),
            "{key} is missing in {message}"
        );
    }
    assert!(!message.contains("s3cret"), "{message}");

    let (_folder, sources) = with_file("[sms]\ntransport = \"tencent\"\n");
    assert!(refusal(&sources).contains("sms.tencent: is needed"));
}

use super::*;

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";

#[test]
fn an_account_at_twilio_is_used_as_soon_as_it_is_given_and_its_secrets_are_not_shown() {
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "s3cret-token\n").unwrap();
    let config = Config::load(&with_environment(&[
        ("COUNTERSIGN__SMS__TWILIO__ACCOUNT_SID", ACCOUNT),
        (
            "COUNTERSIGN__SMS__TWILIO__AUTH_TOKEN_FILE",
            token.to_str().unwrap(),
        ),
        (
            "COUNTERSIGN__SMS__TWILIO__API_KEY_SID",
            "SK0123456789abcdef0123456789abcdef",
        ),
        ("COUNTERSIGN__SMS__TWILIO__API_KEY_SECRET", "s3cret-key"),
        ("COUNTERSIGN__SMS__TWILIO__FROM", "10086"),
        (
            "COUNTERSIGN__NOTIFICATION__PUBLIC_URL",
            "https://shop.example.com",
        ),
    ]))
    .unwrap();

    assert_eq!(config.sms.transport, GatewayTransport::Twilio);
    assert_eq!(config.phone.transport, GatewayTransport::Mailbox);
    let twilio = &config.sms.twilio;
    assert_eq!(
        twilio.auth_token.as_ref().unwrap().expose_secret(),
        "s3cret-token"
    );
    assert_eq!(twilio.from.as_deref(), Some("10086"));
    assert_eq!(twilio.base_url, "https://api.twilio.com");
    let shown = config.redacted();
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("auth_token = \"[redacted]\""), "{shown}");
    assert!(shown.contains(ACCOUNT), "{shown}");
    assert!(toml::from_str::<toml::Table>(&shown).is_ok());
}

#[test]
fn every_bad_field_of_an_account_at_twilio_is_named() {
    let (_folder, sources) = with_file(
        r#"
        [sms.twilio]
        account_sid = "AC1"
        api_key_sid = "SK1"
        base_url = "api.twilio.com"
        from = "a name that is too long"
        messaging_service_sid = "MG1"
        [phone]
        transport = "twilio"
        [phone.twilio]
        api_key_secret = "s3cret"
        messaging_service_sid = "MG1"
        [notification]
        public_url = "http://shop.example.com"
        "#,
    );
    let message = refusal(&sources);
    for key in [
        "sms.twilio.account_sid",
        "sms.twilio.auth_token",
        "sms.twilio.api_key_sid",
        "sms.twilio.api_key_secret",
        "sms.twilio.from",
        "sms.twilio.messaging_service_sid",
        "sms.twilio.base_url",
        "phone.twilio.account_sid",
        "phone.twilio.auth_token",
        "phone.twilio.api_key_secret",
        "phone.twilio.from",
        "phone.twilio.messaging_service_sid",
        "notification.public_url",
    ] {
        assert!(
            message.contains(&format!("\n  {key}: ")),
            "{key} is missing in {message}"
        );
    }
    assert!(!message.contains("s3cret"), "{message}");

    let (_folder, sources) = with_file("[sms.twilio]\nacount_sid = \"AC1\"\n");
    let message = refusal(&sources);
    assert!(
        message.contains("unknown key sms.twilio.acount_sid in "),
        "{message}"
    );
}

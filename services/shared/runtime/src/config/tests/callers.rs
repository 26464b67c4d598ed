use super::*;

const EVERYWHERE: &str = "[order]\nlisten = \"0.0.0.0:50051\"\n";

fn told(text: &str) -> String {
    let (_folder, sources) = with_file(text);
    refusal(&sources)
}

fn taken(text: &str) -> Config {
    let (_folder, sources) = with_file(text);
    Config::load(&sources).unwrap()
}

const MTLS: &str = r#"
[callers.tls]
certificate_file = "/c"
key_file = "/k"
client_ca_file = "/a"
[[callers.certificates]]
san = "spiffe://x/shop"
name = "shop"
roles = ["ORDER_WRITER", "AGENT"]
"#;

const JWT: &str = r#"
[callers.jwt]
issuer = "https://login.example"
audience = "countersign"
jwks_url = "https://login.example/keys"
"#;

#[test]
fn an_address_that_others_reach_needs_proofs_or_a_plain_sentence() {
    let refused = told(EVERYWHERE);
    assert!(
        refused.contains("order.listen: 0.0.0.0:50051 can be reached"),
        "{refused}"
    );
    assert!(refused.contains("callers.tls.client_ca_file"), "{refused}");
    assert!(
        refused.contains("anyone who reaches the port may do everything"),
        "{refused}"
    );
    let worker = told("[notification]\ngrpc_listen = \"[::]:50052\"\n");
    assert!(worker.contains("notification.grpc_listen"), "{worker}");
    for sentence in ["true", "yes", "anyone"] {
        let refused = told(&format!(
            "{EVERYWHERE}[callers]\nallow_unauthenticated = \"{sentence}\"\n"
        ));
        assert!(
            refused.contains("callers.allow_unauthenticated"),
            "{refused}"
        );
    }
    let sentence = "anyone who reaches the port may do everything";
    taken(&format!(
        "{EVERYWHERE}[callers]\nallow_unauthenticated = \"{sentence}\"\n"
    ));
    taken(&format!("{EVERYWHERE}{MTLS}"));
    taken("[order]\nlisten = \"[::1]:50051\"\n");
    // The customers' pages are open to everybody by their nature.
    taken("[notification]\nlisten = \"0.0.0.0:8080\"\n");
}

#[test]
fn tokens_do_not_travel_readable() {
    let refused = told(&format!("{EVERYWHERE}{JWT}"));
    assert!(refused.contains("tokens would be readable"), "{refused}");
    taken(&format!(
        "{EVERYWHERE}[callers]\ntls_elsewhere = true\n{JWT}"
    ));
    taken(JWT);
}

#[test]
fn callers_that_cannot_work_are_refused_by_name() {
    for (text, key) in [
        ("[callers.tls]\ncertificate_file = \"/c\"\n".to_owned(), "callers.tls: "),
        (
            "[callers.tls]\nclient_ca_file = \"/a\"\n".to_owned(),
            "callers.tls.client_ca_file: ",
        ),
        (
            "[callers.tls]\ncertificate_file = \"/c\"\nkey_file = \"/k\"\nclient_crl_file = \"/l\"\n".to_owned(),
            "callers.tls.client_crl_file: ",
        ),
        (MTLS.replace("AGENT", "AGENTS"), "callers.certificates[0].roles: "),
        (MTLS.replace("AGENT", "UNSPECIFIED"), "callers.certificates[0].roles: "),
        (MTLS.replace("\"shop\"", "\"my shop\""), "callers.certificates[0].name: "),
        (MTLS.replace("spiffe://x/shop", ""), "callers.certificates[0].san: "),
        (
            format!("{MTLS}[[callers.certificates]]\nsan = \"spiffe://x/shop\"\nname = \"b\"\nroles = [\"ADMIN\"]\n"),
            "callers.certificates[1].san: stands there twice",
        ),
        (
            "[[callers.certificates]]\nsan = \"a\"\nname = \"b\"\nroles = [\"ADMIN\"]\n".to_owned(),
            "callers.certificates: ",
        ),
        ("[callers.jwt]\naudience = \"x\"\n".to_owned(), "callers.jwt.issuer: "),
        (JWT.replace("audience", "#"), "callers.jwt.audience: "),
        (JWT.replace("jwks_url", "#"), "callers.jwt.jwks_url: "),
        (format!("{JWT}jwks_file = \"/j\"\n"), "callers.jwt.jwks_url: "),
        (
            JWT.replace("https://login.example/keys", "http://login.example/keys"),
            "callers.jwt.jwks_url: must be https",
        ),
        (format!("{JWT}algorithms = [\"HS256\"]\n"), "callers.jwt.algorithms: "),
        (format!("{JWT}algorithms = [\"none\"]\n"), "callers.jwt.algorithms: "),
        (format!("{JWT}algorithms = []\n"), "callers.jwt.algorithms: "),
        (format!("{JWT}leeway_seconds = 3600\n"), "callers.jwt.leeway_seconds: "),
        (
            format!("[callers]\nallow_unauthenticated = \"anyone who reaches the port may do everything\"\n{JWT}"),
            "callers.allow_unauthenticated: contradicts",
        ),
        ("[client]\nkey_file = \"/k\"\n".to_owned(), "client: "),
    ] {
        let refused = told(&text);
        assert!(refused.contains(key), "{text}\n{refused}");
    }
}

#[test]
fn methods_are_told_on_a_developers_machine_only_unless_it_is_said() {
    let (here, anywhere) = ("127.0.0.1:1".parse().unwrap(), "0.0.0.0:1".parse().unwrap());
    let open = Config::default().callers;
    assert!(open.reflects_at(here) && !open.reflects_at(anywhere));
    let asked = taken(MTLS).callers;
    assert!(!asked.reflects_at(here));
    let said = taken(&format!("[callers]\nreflection = true\n{MTLS}")).callers;
    assert!(said.reflects_at(here) && said.reflects_at(anywhere));
}

#[test]
fn what_is_in_force_can_be_shown() {
    let shown = taken(&format!("[callers]\ntls_elsewhere = true\n{MTLS}{JWT}")).redacted();
    for text in [
        "tls_elsewhere = true",
        "spiffe://x/shop",
        "https://login.example/keys",
    ] {
        assert!(shown.contains(text), "{shown}");
    }
}

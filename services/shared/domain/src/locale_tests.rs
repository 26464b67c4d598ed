use proptest::prelude::*;

use super::*;

#[test]
fn a_tag_is_spelled_as_usual() {
    for (given, spelled) in [
        ("zh-CN", "zh-CN"),
        ("zh_cn", "zh-CN"),
        ("ZH-hans-cn", "zh-Hans-CN"),
        ("EN", "en"),
        ("pt-br", "pt-BR"),
        ("es-419", "es-419"),
        ("de-CH-1996", "de-CH-1996"),
        ("sl-rozaj", "sl-rozaj"),
        ("yue-HK", "yue-HK"),
    ] {
        assert_eq!(Locale::parse(given).unwrap().as_str(), spelled);
    }
}

#[test]
fn what_is_no_tag_is_refused() {
    for tag in [
        "",
        "-",
        "e",
        "english",
        "zh-",
        "-CN",
        "zh--CN",
        "zh-C",
        "zh CN",
        "中文",
        "en-US-u-hc-h12",
        "x-private",
        "en.UTF-8",
        "en-US\r\n",
        "1n",
        "zh-CN-TW",
        &"en-abcde".repeat(20),
    ] {
        assert_eq!(Locale::parse(tag), Err(LocaleError), "{tag}");
    }
}

#[test]
fn all_chinese_is_written_to_in_chinese_and_the_rest_in_english() {
    for (tag, template) in [
        ("zh-CN", "zh-CN"),
        ("zh", "zh-CN"),
        ("zh-Hant-TW", "zh-CN"),
        ("zh-HK", "zh-CN"),
        ("en", "en"),
        ("en-GB", "en"),
        ("pt-BR", "en"),
        ("zha", "en"),
    ] {
        assert_eq!(
            Locale::parse(tag).unwrap().template_locale(),
            template,
            "{tag}"
        );
    }
}

#[test]
fn a_tag_knows_its_language_and_region() {
    let locale = Locale::parse("zh-Hant-TW").unwrap();
    assert_eq!((locale.language(), locale.region()), ("zh", Some("TW")));
    assert_eq!(Locale::parse("en").unwrap().region(), None);
    assert_eq!(Locale::parse("es-419").unwrap().region(), Some("419"));
}

#[test]
fn a_time_zone_is_a_name_of_the_iana_list() {
    for name in [
        "Asia/Shanghai",
        "Europe/Berlin",
        "America/Argentina/Buenos_Aires",
        "UTC",
        "PRC",
    ] {
        assert_eq!(TimeZone::parse(name).unwrap().name(), name);
    }
    for name in [
        "",
        "Beijing",
        "asia/shanghai",
        "+08:00",
        "CST-8",
        "Asia/Shanghai ",
    ] {
        assert_eq!(TimeZone::parse(name), Err(TimeZoneError), "{name}");
    }
}

#[test]
fn json_holds_the_names() {
    let pair = (
        Locale::parse("zh-CN").unwrap(),
        TimeZone::parse("Asia/Shanghai").unwrap(),
    );
    let json = serde_json::to_string(&pair).unwrap();
    assert_eq!(json, r#"["zh-CN","Asia/Shanghai"]"#);
    assert_eq!(
        serde_json::from_str::<(Locale, TimeZone)>(&json).unwrap(),
        pair
    );
}

proptest! {
    #[test]
    fn what_was_taken_is_taken_again_unchanged(tag in "[a-zA-Z0-9_-]{0,20}") {
        if let Ok(locale) = Locale::parse(&tag) {
            prop_assert_eq!(Locale::parse(locale.as_str()).unwrap(), locale);
        }
    }

    #[test]
    fn no_input_breaks_the_reader(tag in any::<String>()) {
        if let Ok(locale) = Locale::parse(&tag) {
            prop_assert!(locale.as_str().is_ascii());
        }
    }
}

use super::*;

fn country(code: &str) -> CountryCode {
    CountryCode::parse(code).unwrap()
}

fn address(region: &str, postal_code: &str, locality: &str) -> PostalAddress {
    PostalAddress {
        region_code: region.to_owned(),
        postal_code: postal_code.to_owned(),
        locality: locality.to_owned(),
        address_lines: vec!["1 Long Street".to_owned()],
        ..PostalAddress::default()
    }
}

fn fields(address: &PostalAddress) -> Vec<&'static str> {
    address
        .delivery_problems()
        .iter()
        .map(AddressProblem::field)
        .collect()
}

#[test]
fn the_table_of_countries_is_whole_and_sorted() {
    assert_eq!(countries::COUNTRIES.len(), 249);
    assert!(
        countries::COUNTRIES
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0)
    );
    for (code, name, zone, language) in countries::COUNTRIES {
        assert!(
            code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase()),
            "{code}"
        );
        assert!(!name.is_empty(), "{code}");
        assert!(TimeZone::parse(zone).is_ok(), "{code} {zone}");
        let spelled = Locale::parse(language).map(String::from);
        assert!(
            language.is_empty() || spelled.as_deref() == Ok(language),
            "{code} {language}"
        );
    }
}

#[test]
fn a_country_is_two_capital_letters_of_iso_3166() {
    assert_eq!(country("CN").english_name(), "China");
    for code in ["", "cn", "CHN", "UK", "EU", "ZZ", "XX", " CN", "中国"] {
        assert_eq!(CountryCode::parse(code), Err(CountryError), "{code}");
    }
    assert_eq!(serde_json::to_string(&country("CN")).unwrap(), "\"CN\"");
    assert!(serde_json::from_str::<CountryCode>("\"cn\"").is_err());
}

#[test]
fn a_country_gives_the_clock_and_the_language_when_nothing_else_does() {
    for (code, zone, language) in [
        ("CN", "Asia/Shanghai", "zh-CN"),
        ("DE", "Europe/Berlin", "de"),
        ("BR", "America/Sao_Paulo", "pt-BR"),
        ("US", "America/New_York", "en"),
        ("JP", "Asia/Tokyo", "ja"),
        ("AQ", "Antarctica/McMurdo", "en"),
    ] {
        assert_eq!(country(code).default_time_zone().name(), zone);
        assert_eq!(country(code).default_locale().as_str(), language);
    }
}

#[test]
fn a_whole_address_can_be_delivered_to() {
    for (region, postal_code, locality) in [
        ("CN", "100080", "北京市"),
        ("CN", "１０００８０", "北京市"),
        ("DE", "10117", "Berlin"),
        ("GB", "SW1A 1AA", "London"),
        ("GB", "sw1a1aa", "London"),
        ("GB", "M1 1AE", "Manchester"),
        ("GB", "B33 8TH", "Birmingham"),
        ("GB", "CR2 6XH", "Croydon"),
        ("GB", "DN55 1PT", "Doncaster"),
        ("GB", "W1A 0AX", "London"),
        ("GB", "EC1A 1BB", "London"),
        ("GB", "BFPO 801", "BFPO"),
        ("FR", "75008", "Paris"),
        ("BR", "01310-100", "São Paulo"),
        ("BR", "01310100", "São Paulo"),
        ("US", "20500", "Washington"),
        ("US", "20500-0003", "Washington"),
        ("CA", "K1A 0B1", "Ottawa"),
        ("JP", "100-0001", ""),
        ("JP", "100‐0001", "東京"),
        ("NL", "1012JS", "Amsterdam"),
        ("PT", "1250-096", "Lisboa"),
        ("LV", "1050", "Rīga"),
        ("IE", "", "Dublin"),
        ("IE", "D6W XY00", "Dublin"),
        ("HK", "", ""),
        ("SG", "018956", ""),
        ("AE", "", "Dubai"),
        ("AE", "whatever", "Dubai"),
    ] {
        let address = address(region, postal_code, locality);
        assert_eq!(address.delivery_problems(), [], "{region} {postal_code}");
        assert!(address.is_deliverable());
    }
}

#[test]
fn everything_that_is_missing_is_named_at_once() {
    let nothing = PostalAddress::default();
    assert!(nothing.is_empty());
    assert_eq!(
        fields(&nothing),
        ["region_code", "locality", "address_lines"]
    );
    let bare = PostalAddress {
        region_code: "CN".to_owned(),
        ..PostalAddress::default()
    };
    assert_eq!(fields(&bare), ["locality", "address_lines", "postal_code"]);
    let blank = PostalAddress {
        address_lines: vec![" ".to_owned(), "\u{3000}".to_owned()],
        ..address("CN", "100080", " ")
    };
    assert_eq!(fields(&blank), ["locality", "address_lines"]);
    assert_eq!(
        fields(&address("UK", "SW1A 1AA", "London")),
        ["region_code"]
    );
}

#[test]
fn a_postal_code_of_another_form_is_refused_with_an_example() {
    for (region, postal_code, text) in [
        (
            "CN",
            "10008",
            "must look like a postal code of CN, such as 100080",
        ),
        (
            "US",
            "2050",
            "must look like a postal code of US, such as 20500",
        ),
        (
            "GB",
            "SW1A 1A",
            "must look like a postal code of GB, such as SW1A 1AA",
        ),
        (
            "GB",
            "12345",
            "must look like a postal code of GB, such as SW1A 1AA",
        ),
        (
            "DE",
            "1011A",
            "must look like a postal code of DE, such as 10117",
        ),
        (
            "BR",
            "01310-10",
            "must look like a postal code of BR, such as 01310-100",
        ),
        (
            "CA",
            "KIA OB1",
            "must look like a postal code of CA, such as K1A 0B1",
        ),
        (
            "JP",
            "1000-001x",
            "must look like a postal code of JP, such as 100-0001",
        ),
        ("DE", "", "must be the postal code, such as 10117 in DE"),
        (
            "IE",
            "Dublin 4",
            "must look like a postal code of IE, such as D02 AF30",
        ),
    ] {
        let problems = address(region, postal_code, "Town").delivery_problems();
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(texts, [text], "{region} {postal_code}");
    }
}

#[test]
fn a_chinese_municipality_with_its_district_needs_no_city() {
    let mut there = address("CN", "100080", "");
    there.administrative_area = "北京市".to_owned();
    assert_eq!(fields(&there), ["locality"]);
    there.sublocality = "海淀区".to_owned();
    assert!(there.is_deliverable());
    there.administrative_area = "四川省".to_owned();
    assert_eq!(fields(&there), ["locality"]);
}

#[test]
fn an_address_is_not_shown_by_accident() {
    let shown = format!("{:?}", address("CN", "100080", "北京市"));
    assert_eq!(shown, "PostalAddress(CN, ***)");
    let shown = format!("{:?}", address("canary", "canary", "canary"));
    assert_eq!(shown, "PostalAddress(***)");
}

#[test]
fn json_holds_the_fields_of_the_api_and_fills_in_the_missing() {
    let given = address("CN", "100080", "北京市");
    let json = serde_json::to_string(&given).unwrap();
    assert_eq!(serde_json::from_str::<PostalAddress>(&json).unwrap(), given);
    let short: PostalAddress = serde_json::from_str(r#"{"region_code":"CN"}"#).unwrap();
    assert_eq!(short.region_code, "CN");
    assert!(serde_json::from_str::<PostalAddress>(r#"{"street":"x"}"#).is_err());
}

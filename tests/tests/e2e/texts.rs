//! Whatever people type comes back byte for byte, or the field that cannot hold it is named.

use std::collections::BTreeSet;

use countersign_e2e::{
    Orders, System, data::shared_data, fresh_id, order_builder, refused, violated_fields,
};
use countersign_proto::v1;
use countersign_store::testing::TestDatabase;
use futures::{StreamExt as _, stream};
use quick_xml::events::Event;
use tonic::Code;

/// Strings that have broken other programs; the public collection is run besides when it is on the machine.
const NASTY: &[&str] = &[
    "Robert'); DROP TABLE orders;--",
    "\" OR 1=1 -- ",
    "100% \\_ \\' \\0 \\x27",
    "{{7*7}} ${jndi:ldap://x} <%= 1 %> {% include 'x' %}",
    "<script>alert(1)</script>&amp;",
    "</Say><Dial>+900123</Dial>",
    "NULL",
    "true",
    "0",
    " leading and trailing ",
    "ß ss SS ẞ",
    "Ａ１３８　全角",
    "田中さんにあげて下さい 社會科學院語學研究所",
    "السلام عليكم \u{202E}back\u{202C}wards",
    "e\u{301} é \u{212B} Å",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇨🇳",
    "𝕿𝖍𝖊 𐐷 \u{10FFFF}",
    "z\u{335}a\u{322}l\u{321}g\u{317}o",
    "\u{feff}bom\u{200b}zero\u{00ad}soft",
    "tab\there",
    "two\nlines\r\nthree",
    "lone\rreturn",
    "nul\0inside",
    "\u{1b}[31mred",
    "\u{85}next line",
    "\u{2028}line separator",
    "To: a@example.com\r\nBcc: b@example.com",
    "",
    " ",
];

/// What a field can hold.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// As named in a violation, below `order.`.
    path: &'static str,
    min: usize,
    max: usize,
    /// Newlines and tabs are allowed.
    lines: bool,
    /// White space at the ends is not.
    key: bool,
    read: fn(&v1::Order) -> &str,
    write: fn(&mut v1::Order, String),
}

const fn one_line(
    path: &'static str,
    min: usize,
    max: usize,
    read: fn(&v1::Order) -> &str,
    write: fn(&mut v1::Order, String),
) -> Field {
    Field {
        path,
        min,
        max,
        lines: false,
        key: false,
        read,
        write,
    }
}

macro_rules! at {
    ($($part:tt)+) => {
        (|order: &v1::Order| -> &str { order.$($part)+.as_str() }) as fn(&v1::Order) -> &str
    };
}

fn address(order: &v1::Order) -> &countersign_proto::common::PostalAddress {
    order.delivery.as_ref().unwrap().address.as_ref().unwrap()
}

fn address_mut(order: &mut v1::Order) -> &mut countersign_proto::common::PostalAddress {
    order.delivery.as_mut().unwrap().address.as_mut().unwrap()
}

/// Every text field of an order. Empty stands for "not given" where the minimum is 0, and where another value is then
/// filled in, the field is left out of the comparison by giving it the minimum 1 here.
fn fields() -> Vec<Field> {
    let key = |path, read, write| Field {
        key: true,
        ..one_line(path, 1, 64, read, write)
    };
    let words = |path, read, write| Field {
        lines: true,
        ..one_line(path, 0, 1_000, read, write)
    };
    vec![
        key("client_reference", at!(client_reference), |order, text| {
            order.client_reference = text;
        }),
        key(
            "customer",
            |order| {
                order
                    .customer
                    .strip_prefix("customers/")
                    .unwrap_or(&order.customer)
            },
            |order, text| order.customer = format!("customers/{text}"),
        ),
        key("lines[0].sku", at!(lines[0].sku), |order, text| {
            order.lines[0].sku = text;
        }),
        one_line(
            "source_channel",
            1,
            32,
            at!(source_channel),
            |order, text| {
                order.source_channel = text;
            },
        ),
        one_line("entered_by", 0, 64, at!(entered_by), |order, text| {
            order.entered_by = text;
        }),
        one_line("handler", 0, 64, at!(handler), |order, text| {
            order.handler = text;
        }),
        one_line(
            "contact.display_name",
            1,
            200,
            |order| &order.contact.as_ref().unwrap().display_name,
            |order, text| order.contact.as_mut().unwrap().display_name = text,
        ),
        one_line(
            "delivery.consignee",
            0,
            200,
            |order| &order.delivery.as_ref().unwrap().consignee,
            |order, text| order.delivery.as_mut().unwrap().consignee = text,
        ),
        words(
            "delivery.wishes",
            |order| &order.delivery.as_ref().unwrap().wishes,
            |order, text| order.delivery.as_mut().unwrap().wishes = text,
        ),
        one_line(
            "delivery.address.postal_code",
            0,
            200,
            |order| &address(order).postal_code,
            |order, text| {
                address_mut(order).postal_code = text;
            },
        ),
        one_line(
            "delivery.address.sorting_code",
            0,
            200,
            |order| &address(order).sorting_code,
            |order, text| {
                address_mut(order).sorting_code = text;
            },
        ),
        one_line(
            "delivery.address.language_code",
            0,
            200,
            |order| &address(order).language_code,
            |order, text| {
                address_mut(order).language_code = text;
            },
        ),
        one_line(
            "delivery.address.administrative_area",
            0,
            200,
            |order| &address(order).administrative_area,
            |order, text| address_mut(order).administrative_area = text,
        ),
        one_line(
            "delivery.address.locality",
            0,
            200,
            |order| &address(order).locality,
            |order, text| {
                address_mut(order).locality = text;
            },
        ),
        one_line(
            "delivery.address.sublocality",
            0,
            200,
            |order| &address(order).sublocality,
            |order, text| {
                address_mut(order).sublocality = text;
            },
        ),
        one_line(
            "delivery.address.organization",
            0,
            200,
            |order| &address(order).organization,
            |order, text| {
                address_mut(order).organization = text;
            },
        ),
        one_line(
            "delivery.address.address_lines[0]",
            0,
            200,
            |order| &address(order).address_lines[0],
            |order, text| address_mut(order).address_lines = vec![text],
        ),
        one_line(
            "delivery.address.recipients[0]",
            0,
            200,
            |order| &address(order).recipients[0],
            |order, text| address_mut(order).recipients = vec![text],
        ),
        one_line(
            "lines[0].goods_name",
            1,
            500,
            at!(lines[0].goods_name),
            |order, text| {
                order.lines[0].goods_name = text;
            },
        ),
        one_line(
            "lines[0].specification",
            0,
            500,
            at!(lines[0].specification),
            |order, text| {
                order.lines[0].specification = text;
            },
        ),
        one_line("lines[0].unit", 0, 32, at!(lines[0].unit), |order, text| {
            order.lines[0].unit = text;
        }),
        one_line(
            "lines[0].accessories[0]",
            1,
            200,
            |order| &order.lines[0].accessories[0],
            |order, text| order.lines[0].accessories = vec![text],
        ),
        words(
            "lines[0].processing_instructions",
            at!(lines[0].processing_instructions),
            |order, text| order.lines[0].processing_instructions = text,
        ),
        words(
            "lines[0].customization",
            at!(lines[0].customization),
            |order, text| {
                order.lines[0].customization = text;
            },
        ),
        Field {
            max: 1_024,
            ..words(
                "annotations[\"note\"]",
                |order| &order.annotations["note"],
                |order, text| {
                    order.annotations.insert("note".to_owned(), text);
                },
            )
        },
    ]
}

impl Field {
    /// Whether the field can hold the text: told once more here, by other words than the program's.
    fn holds(&self, text: &str) -> bool {
        let characters: Vec<char> = text.chars().collect();
        let length = (self.min..=self.max).contains(&characters.len());
        let allowed = characters.iter().enumerate().all(|(place, c)| {
            let control = matches!(u32::from(*c), 0..=0x1F | 0x7F..=0x9F);
            let newline = matches!(c, '\n' | '\t')
                || (*c == '\r' && characters.get(place + 1) == Some(&'\n'));
            if self.lines {
                !control || newline
            } else {
                !control && !matches!(c, '\u{2028}' | '\u{2029}')
            }
        });
        let ends = !self.key || text.trim() == text;
        length && allowed && ends
    }

    /// What is filled in when nothing was given.
    fn filled_in(&self, text: &str) -> bool {
        text.is_empty() && ["delivery.consignee", "lines[0].unit"].contains(&self.path)
    }
}

/// Sends a text in every field at once; fields that were refused are left out of a second call, which must succeed.
async fn send_everywhere(client: &mut Orders, text: &str, fields: &[Field]) {
    let mut order = order_builder().build();
    for field in fields {
        (field.write)(&mut order, text.to_owned());
    }
    let refused_fields: BTreeSet<String> = fields
        .iter()
        .filter(|field| !field.holds(text))
        .map(|field| format!("order.{}", field.path))
        .collect();
    let mut request = v1::CreateOrderRequest {
        order: Some(order.clone()),
        request_id: fresh_id("text"),
        validate_only: false,
    };
    if !refused_fields.is_empty() {
        let status = refused(
            client.create_order(request.clone()).await,
            Code::InvalidArgument,
        );
        let named: BTreeSet<String> = violated_fields(&status).into_iter().collect();
        assert_eq!(named, refused_fields, "{text:?}");
        let plain = order_builder()
            .with(|order| {
                order.lines[0].accessories = vec!["lid".to_owned()];
                address_mut(order).recipients = vec!["Zhang Wei".to_owned()];
                order
                    .annotations
                    .insert("note".to_owned(), "none".to_owned());
            })
            .build();
        for field in fields.iter().filter(|field| !field.holds(text)) {
            let replacement = (field.read)(&plain).to_owned();
            (field.write)(&mut order, replacement);
        }
        request.order = Some(order.clone());
    }
    let answer = client
        .create_order(request)
        .await
        .unwrap_or_else(|status| panic!("{text:?}: {status:?}"))
        .into_inner();
    let stored = client
        .get_order(v1::GetOrderRequest {
            name: answer.name.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(stored, answer, "{text:?}");
    for field in fields
        .iter()
        .filter(|field| !field.filled_in((field.read)(&order)))
    {
        assert_eq!(
            (field.read)(&stored),
            (field.read)(&order),
            "{} {text:?}",
            field.path
        );
    }
}

async fn send_all(texts: &[String]) {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let client = system.orders().await;
        let fields = fields();
        stream::iter(texts)
            .for_each_concurrent(24, |text| {
                let (mut client, fields) = (client.clone(), &fields);
                async move { send_everywhere(&mut client, text, fields).await }
            })
            .await;
        assert_eq!(system.stock_agrees_with_orders().await, texts.len());
    }
}

#[tokio::test]
async fn b_20_i_01_i_09_nasty_texts_come_back_or_their_fields_are_named() {
    let mut texts: Vec<String> = NASTY.iter().map(|text| (*text).to_owned()).collect();
    // As long as each field may be and one longer, with characters of four bytes.
    for length in [
        32, 33, 64, 65, 200, 201, 500, 501, 1_000, 1_001, 1_024, 1_025,
    ] {
        texts.push("𝕏".repeat(length));
    }
    // As much as columns for text hold in bytes, and one more.
    for length in [65_535, 65_536] {
        texts.push("a".repeat(length));
    }
    send_all(&texts).await;
}

#[tokio::test]
async fn i_01_the_public_collection_of_naughty_strings_comes_back_or_is_refused_by_name() {
    let Some(path) = shared_data("validation/naughty_strings.json") else {
        return;
    };
    let all: BTreeSet<String> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(all.len() > 450, "{}", all.len());
    let texts: Vec<String> = all.into_iter().collect();
    send_all(&texts).await;
}

#[tokio::test]
async fn i_09_references_that_collations_take_for_equal_are_different_orders() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let mut client = system.orders().await;
        let references = [
            "STRASSE",
            "straße",
            "strasse",
            "Strasse",
            "cafe\u{301}",
            "café",
            "cafe",
            "ｃａｆｅ",
            "a\u{200d}b",
            "ab",
        ];
        for reference in references {
            let request = order_builder()
                .with(|order| order.client_reference = reference.to_owned())
                .request();
            client.create_order(request).await.unwrap();
        }
        assert_eq!(system.all_orders().await.len(), references.len());
    }
}

/// Whether an order with these contacts is taken, and what it says then.
async fn judged(client: &mut Orders, email: &str, phone: &str) -> Result<v1::Contact, Vec<String>> {
    let mut request = order_builder()
        .with(|order| {
            let contact = order.contact.as_mut().unwrap();
            contact.email = email.to_owned();
            contact.phone = phone.to_owned();
        })
        .request();
    request.validate_only = true;
    match client.create_order(request).await {
        Ok(answer) => Ok(answer.into_inner().contact.unwrap()),
        Err(status) => {
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
            Err(violated_fields(&status))
        }
    }
}

#[tokio::test]
async fn i_02_valid_mail_addresses_are_taken_and_wrong_ones_refused() {
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    for good in [
        "o'brien@example.ie",
        "jane.doe+orders@example.co.uk",
        "jane@例子.测试",
    ] {
        assert!(judged(&mut client, good, "").await.is_ok(), "{good}");
    }
    for bad in [
        "\"a@x\r\nBcc:evil\"@d",
        "a@d, b@d",
        "<a@d>",
        &format!("{}@example.com", "l".repeat(65)),
        &format!("l@{}com", "label.".repeat(42)),
    ] {
        let fields = judged(&mut client, bad, "").await.unwrap_err();
        assert_eq!(fields, ["order.contact.email"], "{bad}");
    }
    let Some(path) = shared_data("validation/isemail_tests.xml") else {
        return;
    };
    let tests = mail_suite(&std::fs::read_to_string(path).unwrap());
    let (mut valid, mut wrong) = (0, 0);
    for (address, category) in tests {
        // An empty one is "none", which is right as long as there is a phone.
        match category.as_str() {
            "ISEMAIL_VALID_CATEGORY" => {
                valid += 1;
                assert!(
                    judged(&mut client, &address, "").await.is_ok(),
                    "{address:?}"
                );
            }
            "ISEMAIL_ERR" if !address.is_empty() => {
                wrong += 1;
                let fields = judged(&mut client, &address, "").await.unwrap_err();
                assert_eq!(fields, ["order.contact.email"], "{address:?}");
            }
            _ => {}
        }
    }
    assert!(valid > 10 && wrong > 50, "{valid} valid, {wrong} wrong");
}

/// Address and category of each test of the suite, in which U+2400 to U+241F stand for control characters.
fn mail_suite(xml: &str) -> Vec<(String, String)> {
    let mut reader = quick_xml::Reader::from_str(xml);
    let (mut tests, mut field) = (Vec::new(), String::new());
    let (mut address, mut category) = (String::new(), String::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => return tests,
            Event::Start(tag) => field = String::from_utf8(tag.name().as_ref().to_vec()).unwrap(),
            Event::Text(text) => match field.as_str() {
                "address" => address.push_str(&text.decode().unwrap()),
                "category" => category.push_str(&text.decode().unwrap()),
                _ => {}
            },
            Event::GeneralRef(reference) if field == "address" => {
                address.push(match reference.resolve_char_ref().unwrap() {
                    Some(c) => c,
                    None => match &*reference.decode().unwrap() {
                        "amp" => '&',
                        "lt" => '<',
                        "gt" => '>',
                        "quot" => '"',
                        "apos" => '\'',
                        other => panic!("unknown entity {other}"),
                    },
                });
            }
            Event::End(tag) => {
                if tag.name().as_ref() == b"test" {
                    let shown = std::mem::take(&mut address);
                    let address = shown
                        .chars()
                        .map(|c| match u32::from(c) {
                            symbol @ 0x2400..=0x241F => char::from_u32(symbol - 0x2400).unwrap(),
                            _ => c,
                        })
                        .collect();
                    tests.push((address, std::mem::take(&mut category)));
                }
                field.clear();
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn i_10_phones_are_kept_in_e164_however_they_were_written() {
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    for (given, kept) in [
        ("138 1234 5678", "+8613812345678"),
        ("0086-138-1234-5678", "+8613812345678"),
        ("+86 (138) 1234-5678", "+8613812345678"),
        ("１３８１２３４５６７８", "+8613812345678"),
        ("021 6234 5678", "+862162345678"),
        ("+49 170 1234567", "+491701234567"),
        ("+1 650-253-0000", "+16502530000"),
    ] {
        let contact = judged(&mut client, "", given).await.unwrap();
        assert_eq!(contact.phone, kept, "{given}");
    }
    for bad in [
        "12",
        "call me",
        "+1 900 555 0123",
        "+999 123 4567 890",
        "+881 612 345 678",
        "138 1234 567x",
    ] {
        let fields = judged(&mut client, "", bad).await.unwrap_err();
        assert_eq!(fields, ["order.contact.phone"], "{bad}");
    }
    let Some(path) = shared_data("validation/phone_examples.csv") else {
        return;
    };
    let examples = std::fs::read_to_string(path).unwrap();
    let mobiles: Vec<String> = examples
        .lines()
        .filter_map(|line| {
            let mut parts = line.split(';').map(str::trim);
            let (code, region) = parts.next()?.split_once(',')?;
            let kind = parts.next()?;
            let national = parts.next()?.trim_matches('"');
            (kind == "MOBILE" && region.trim() != "001")
                .then(|| format!("+{}{national}", code.trim()))
        })
        .collect();
    assert!(mobiles.len() > 150, "{}", mobiles.len());
    for mobile in mobiles {
        let contact = judged(&mut client, "", &mobile).await.unwrap();
        assert_eq!(contact.phone, mobile);
    }
}

//! What a call says, in Twilio's markup. Every word is escaped: a name with markup in it is read out, not obeyed.

use super::super::CallScript;

/// Longest text that a call can be placed with, in characters.
pub const MAX_CHARS: usize = 4_000;
/// How long the customer may think before the call speaks again, in seconds.
const LISTEN_SECONDS: u32 = 8;

/// A call that is asked for nothing any more: an answer to what was only a piece of news.
pub const EMPTY: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response/>";

/// Says the script and listens for one key, which is told to `action`. A script without keys is only said.
pub fn ask(script: &CallScript, before: Option<&str>, action: &str) -> String {
    let voice = voice(&script.language);
    let prompts = before
        .into_iter()
        .chain(script.prompts.iter().map(String::as_str));
    let mut said = String::new();
    for prompt in prompts {
        say(&mut said, voice, prompt);
    }
    if script.keys.is_empty() {
        return document(&said);
    }
    let action = escape(action);
    let mut goodbye = String::new();
    say(&mut goodbye, voice, words(&script.language).goodbye);
    // An empty answer is told as well, so that we ask again and know when to stop.
    document(&format!(
        "<Gather input=\"dtmf\" numDigits=\"1\" timeout=\"{LISTEN_SECONDS}\" action=\"{action}\" method=\"POST\" \
         actionOnEmptyResult=\"true\">{said}</Gather>{goodbye}"
    ))
}

/// Says one thing and ends the call.
pub fn end(language: &str, text: &str) -> String {
    let mut said = String::new();
    say(&mut said, voice(language), text);
    document(&format!("{said}<Hangup/>"))
}

/// Ends the call.
pub fn hang_up() -> String {
    document("<Hangup/>")
}

/// What a call says by itself, beside its script.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Nothing, or nothing that we know, was pressed too often.
    pub goodbye: &'static str,
    /// An unknown key was pressed.
    pub unknown_key: &'static str,
    /// The yes is on record.
    pub confirmed: &'static str,
    /// The no is on record.
    pub objected: &'static str,
    /// The wish to be rung back is on record.
    pub person: &'static str,
    /// The question was answered otherwise while the telephone rang.
    pub answered: &'static str,
}

/// The words in the language of a script.
pub fn words(language: &str) -> Words {
    if language.starts_with("zh") {
        Words {
            goodbye: "未收到有效按键，再见。",
            unknown_key: "按键无效。",
            confirmed: "谢谢，已记录您的确认。再见。",
            objected: "已记录您的异议，我们会给您回电。再见。",
            person: "我们的工作人员会给您回电。再见。",
            answered: "此订单已经答复，无需再按键。谢谢，再见。",
        }
    } else {
        Words {
            goodbye: "We have heard no answer. Goodbye.",
            unknown_key: "There is nothing on that key.",
            confirmed: "Thank you, your yes is on record. Goodbye.",
            objected: "We have noted that something is wrong and shall ring you back. Goodbye.",
            person: "A member of our staff will ring you back. Goodbye.",
            answered: "This order has been answered already; there is nothing left to do. Thank you, goodbye.",
        }
    }
}

fn voice(language: &str) -> &str {
    match language {
        "en" => "en-US",
        "zh" => "zh-CN",
        other => other,
    }
}

fn say(out: &mut String, voice: &str, text: &str) {
    out.push_str("<Say language=\"");
    out.push_str(&escape(voice));
    out.push_str("\">");
    out.push_str(&escape(text));
    out.push_str("</Say>");
}

fn document(verbs: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response>{verbs}</Response>")
}

/// Text for an element or an attribute. Characters that XML cannot hold at all are left out.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push(' '),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{CallKey, KeyMeaning};
    use quick_xml::{Reader, events::Event};

    fn script(prompts: &[&str]) -> CallScript {
        CallScript {
            language: "zh-CN".to_owned(),
            prompts: prompts.iter().map(|&it| it.to_owned()).collect(),
            keys: vec![CallKey {
                digit: "1".to_owned(),
                means: KeyMeaning::Confirm,
            }],
            particulars: None,
        }
    }

    /// The elements of a document, in order, and all of its text.
    fn read(xml: &str) -> (Vec<String>, String) {
        let mut reader = Reader::from_str(xml);
        let (mut elements, mut text) = (Vec::new(), String::new());
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) | Event::Empty(tag) => {
                    let name = String::from_utf8(tag.name().as_ref().to_vec()).unwrap();
                    elements.push(name);
                }
                Event::Text(words) => text.push_str(&words.decode().unwrap()),
                Event::GeneralRef(entity) => {
                    text.push_str(match entity.decode().unwrap().as_ref() {
                        "lt" => "<",
                        "gt" => ">",
                        "amp" => "&",
                        "quot" => "\"",
                        "apos" => "'",
                        other => panic!("{other}"),
                    });
                }
                Event::Eof => return (elements, text),
                _ => {}
            }
        }
    }

    #[test]
    fn i_05_markup_in_a_name_is_read_out_and_dials_nobody() {
        let evil = "</Say></Gather><Dial>+9005550100</Dial><Say language=\"x\">'&amp;\u{0}\u{b}";
        for action in ["https://cs.example/g?a=1&t=1", "\"><Dial>+900</Dial>"] {
            let xml = ask(&script(&[evil, "确认请按1"]), Some(evil), action);
            let (elements, text) = read(&xml);
            assert_eq!(
                elements,
                ["Response", "Gather", "Say", "Say", "Say", "Say"],
                "{xml}"
            );
            assert!(text.contains("<Dial>+9005550100</Dial>"), "{text}");
        }
        assert_eq!(read(&end(evil, evil)).0, ["Response", "Say", "Hangup"]);
    }

    #[test]
    fn a_question_listens_for_one_key_and_tells_us_also_of_none() {
        let xml = ask(
            &script(&["您好", "确认请按1"]),
            None,
            "https://cs.example/g?a=1&t=1",
        );
        assert_eq!(
            xml,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Gather input=\"dtmf\" numDigits=\"1\" timeout=\"8\" \
             action=\"https://cs.example/g?a=1&amp;t=1\" method=\"POST\" actionOnEmptyResult=\"true\">\
             <Say language=\"zh-CN\">您好</Say><Say language=\"zh-CN\">确认请按1</Say></Gather>\
             <Say language=\"zh-CN\">未收到有效按键，再见。</Say></Response>"
        );
    }

    #[test]
    fn a_call_that_only_tells_does_not_listen() {
        let told = CallScript {
            keys: Vec::new(),
            language: "en".to_owned(),
            ..script(&["Hello"])
        };
        assert_eq!(
            ask(&told, None, "https://cs.example/g"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Say language=\"en-US\">Hello</Say></Response>"
        );
    }
}

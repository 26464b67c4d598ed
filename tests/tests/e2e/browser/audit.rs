//! What every page must keep to: it fits a narrow screen, can be touched, read and heard.

use countersign_e2e::{EMAIL, link_key};
use serde_json::{Value, json};

use super::chromium::{Chromium, Phone, WIDTH};
use crate::stand::{LANGUAGES, Stand};

/// Everything wrong with the page that is open, one line each. Contrast as WCAG 2.2 (1.4.3) computes it; targets as
/// Apple and Google want them, 44 pixels, but for links within a sentence (2.5.8).
const PROBLEMS: &str = r"(() => {
  const problems = [];
  const told = it => it.outerHTML.replace(/\s+/g, ' ').slice(0, 100);
  const width = document.documentElement.clientWidth;
  if (document.scrollingElement.scrollWidth > width) {
    const wide = [...document.querySelectorAll('body *')].filter(it => it.getBoundingClientRect().right > width + 1);
    problems.push('wider than the screen: ' + wide.slice(0, 3).map(told).join(' | '));
  }
  const heads = document.querySelectorAll('h1').length;
  if (heads !== 1) problems.push(heads + ' first headings');
  if (!document.documentElement.lang) problems.push('no language');
  const shown = it => it.checkVisibility({ visibilityProperty: true }) && it.getClientRects().length > 0;
  for (const it of document.querySelectorAll('a, button, summary, select, textarea, input:not([type=hidden])')) {
    if (!shown(it)) continue;
    if (it.matches('a') && getComputedStyle(it).display === 'inline' && it.closest('p, dt, dd, li')) continue;
    const box = (it.closest('label') || it).getBoundingClientRect();
    if (box.height < 44 || box.width < 44) {
      problems.push('too small to touch, ' + Math.round(box.width) + ' × ' + Math.round(box.height) + ': ' + told(it));
    }
  }
  const numbers = color => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map(it => it / 255)
    .map(it => it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4)
    .reduce((sum, it, at) => sum + it * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = it => {
    for (let at = it; at; at = at.parentElement) {
      const color = numbers(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return numbers('Canvas');
  };
  const seen = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const it = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || seen.has(it) || !shown(it)) continue;
    seen.add(it);
    const style = getComputedStyle(it);
    const [front, back] = [light(numbers(style.color)), light(behind(it))];
    const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5)) problems.push('contrast ' + contrast.toFixed(2) + ': ' + told(it));
    if (size < 12) problems.push('too small to read, ' + size + ': ' + told(it));
  }
  return problems;
})()";

/// Roles of what can be acted upon.
const ROLES: [&str; 8] = [
    "button",
    "link",
    "textbox",
    "combobox",
    "radio",
    "checkbox",
    "DisclosureTriangle",
    "group",
];

/// Controls without a name for those who hear the page.
async fn nameless(phone: &Phone<'_>) -> Vec<String> {
    let tree = phone.call("Accessibility.getFullAXTree", json!({})).await;
    let nodes = tree["nodes"].as_array().unwrap();
    nodes
        .iter()
        .filter(|node| node["ignored"] != true)
        .filter(|node| ROLES.contains(&node["role"]["value"].as_str().unwrap_or_default()))
        // Chromium calls a <details> a group; its summary is what has a name.
        .filter(|node| node["role"]["value"] != "group")
        .filter(|node| {
            node["name"]["value"]
                .as_str()
                .unwrap_or_default()
                .trim()
                .is_empty()
        })
        .map(|node| format!("without a name: {node}"))
        .collect()
}

/// Opens everything that can be opened, and looks at the page on two narrow screens, by day and by night.
async fn inspect(phone: &Phone<'_>, what: &str) -> Vec<String> {
    phone
        .look("document.querySelectorAll('details').forEach(it => it.open = true)")
        .await;
    let mut found = Vec::new();
    for (width, colors) in [(WIDTH, "light"), (WIDTH, "dark"), (320, "light")] {
        phone.width(width).await;
        phone.colors(colors).await;
        let problems = phone.look(PROBLEMS).await;
        let problems = problems.as_array().cloned().unwrap_or_default();
        let texts = problems.iter().filter_map(Value::as_str);
        found.extend(texts.map(|text| format!("{what}, {width} px, {colors}: {text}")));
    }
    phone.width(WIDTH).await;
    phone.colors("light").await;
    let silent = nameless(phone).await;
    found.extend(silent.iter().map(|text| format!("{what}: {text}")));
    found
}

#[tokio::test]
async fn every_page_fits_a_narrow_screen_and_can_be_touched_read_and_heard() {
    let stand = Stand::start().await;
    let chromium = Chromium::start().await;
    let phone = chromium.phone().await;
    let mut problems = Vec::new();
    for language in LANGUAGES {
        let waiting = stand.order(language).await;
        let arrived = stand.delivered(language).await;
        for (order, what) in [(&waiting, "waiting"), (&arrived, "delivered")] {
            phone.open(&stand.link(order)).await;
            assert_eq!(phone.look("document.documentElement.lang").await, language);
            problems.extend(inspect(&phone, &format!("{what}, {language}")).await);
        }
        for other in LANGUAGES {
            phone
                .open(&format!("{}?lang={other}", stand.link(&waiting)))
                .await;
            assert_eq!(phone.look("document.documentElement.lang").await, other);
        }
    }
    for (path, what) in [
        (unsubscribe_path(), "unsubscribe"),
        ("/o/AAAAAAAAAAAAAAAAAAAAAA".to_owned(), "no such order"),
        ("/mailbox?lang=zh-CN".to_owned(), "mailbox"),
        ("/?lang=en".to_owned(), "welcome"),
    ] {
        phone.open(&format!("http://{}{path}", stand.pages)).await;
        problems.extend(inspect(&phone, what).await);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Where the link of a letter to the customer leads who stops letters.
pub(super) fn unsubscribe_path() -> String {
    let key = link_key();
    let hash = countersign_store::testing::recipient_hash(EMAIL);
    format!("/u/{}", key.unsubscribe_token(&hash))
}

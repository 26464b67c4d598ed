//! Chromium, driven by its `DevTools` protocol: a page is looked at and keys are pressed, nothing else.

use std::{
    fs::read_to_string,
    path::PathBuf,
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    sync::Mutex,
    time::{sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// A cheap phone held upright, in CSS pixels.
pub(super) const WIDTH: u32 = 360;
const HEIGHT: u32 = 740;
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Names under which it is installed.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

#[expect(
    clippy::disallowed_methods,
    reason = "where the browser lies is no setting of the program"
)]
fn executable() -> PathBuf {
    if let Some(path) = std::env::var_os("COUNTERSIGN_CHROMIUM") {
        return path.into();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|path| path.is_file())
        .expect("Chromium is needed: install it, or set COUNTERSIGN_CHROMIUM to where it lies")
}

/// A running browser without windows; it ends when dropped.
pub(super) struct Chromium {
    socket: Mutex<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    next: AtomicU64,
    _child: Child,
    _profile: TempDir,
}

impl Chromium {
    pub(super) async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new(executable())
            .args([
                "--headless=new",
                "--remote-debugging-port=0",
                // A test machine may run everything as root, for whom there is no sandbox.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-extensions",
                "--disable-background-networking",
                "--no-first-run",
                "--hide-scrollbars",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // It tells where it listens in a file of its profile: the port, then the path.
        let told = profile.path().join("DevToolsActivePort");
        let mut address = None;
        for _ in 0..600 {
            let text = read_to_string(&told).unwrap_or_default();
            if let Some((port, path)) = text.split_once('\n') {
                address = Some(format!("ws://127.0.0.1:{port}{}", path.trim()));
                break;
            }
            assert!(
                child.try_wait().unwrap().is_none(),
                "Chromium ended at once"
            );
            sleep(Duration::from_millis(50)).await;
        }
        let address = address.expect("Chromium starts within half a minute");
        let (socket, _) = connect_async(address).await.unwrap();
        Self {
            socket: Mutex::new(socket),
            next: AtomicU64::new(1),
            _child: child,
            _profile: profile,
        }
    }

    async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut request = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            request["sessionId"] = session.into();
        }
        let mut socket = self.socket.lock().await;
        socket
            .send(Message::text(request.to_string()))
            .await
            .unwrap();
        let answer = timeout(PATIENCE, async {
            loop {
                let message = socket.next().await.unwrap().unwrap();
                let Ok(text) = message.to_text() else {
                    continue;
                };
                let message: Value = serde_json::from_str(text).unwrap_or_default();
                if message["id"] == id {
                    return message;
                }
            }
        });
        let answer = answer.await.expect(method);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// A phone that runs no script.
    pub(super) async fn phone(&self) -> Phone<'_> {
        let phone = self.phone_with_scripts().await;
        let off = json!({ "value": true });
        phone
            .call("Emulation.setScriptExecutionDisabled", off)
            .await;
        phone
    }

    /// A phone as it is sold, or what a mail scanner opens links in.
    pub(super) async fn phone_with_scripts(&self) -> Phone<'_> {
        let blank = json!({ "url": "about:blank" });
        let target = self.call(None, "Target.createTarget", blank).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.call(None, "Target.attachToTarget", attach).await;
        let phone = Phone {
            chromium: self,
            session: attached["sessionId"].as_str().unwrap().to_owned(),
        };
        let focused = json!({ "enabled": true });
        phone
            .call("Emulation.setFocusEmulationEnabled", focused)
            .await;
        phone.width(WIDTH).await;
        phone
    }
}

/// One page of the browser.
pub(super) struct Phone<'a> {
    chromium: &'a Chromium,
    session: String,
}

impl Phone<'_> {
    pub(super) async fn call(&self, method: &str, params: Value) -> Value {
        self.chromium
            .call(Some(&self.session), method, params)
            .await
    }

    /// Makes the screen so wide.
    pub(super) async fn width(&self, width: u32) {
        let screen =
            json!({ "width": width, "height": HEIGHT, "deviceScaleFactor": 2, "mobile": true });
        self.call("Emulation.setDeviceMetricsOverride", screen)
            .await;
    }

    pub(super) async fn colors(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// What the browser itself says of the page; the page's own scripts stay off.
    pub(super) async fn look(&self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", params).await;
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    pub(super) async fn text(&self) -> String {
        let text = self.look("document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    pub(super) async fn open(&self, url: &str) {
        self.leave(async {
            self.call("Page.navigate", json!({ "url": url })).await;
        })
        .await;
    }

    pub(super) async fn back(&self) {
        self.leave(async {
            self.look("history.back()").await;
        })
        .await;
    }

    /// Does something that leads to another page, and waits until that is there.
    pub(super) async fn leave(&self, act: impl Future<Output = ()>) {
        self.look("document.old = true").await;
        act.await;
        for _ in 0..600 {
            let there = "document.old !== true && document.readyState === 'complete'";
            if self.look(there).await == true {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "no other page came after {}",
            self.look("location.href").await
        );
    }

    pub(super) async fn press(&self, key: Key) {
        let (name, code, number, text) = match key {
            Key::Tab => ("Tab", "Tab", 9, ""),
            Key::Enter => ("Enter", "Enter", 13, "\r"),
            Key::Space => (" ", "Space", 32, " "),
            Key::Down => ("ArrowDown", "ArrowDown", 40, ""),
        };
        let kind = if text.is_empty() {
            "rawKeyDown"
        } else {
            "keyDown"
        };
        for kind in [kind, "keyUp"] {
            let mut event = json!({
                "type": kind, "key": name, "code": code, "windowsVirtualKeyCode": number,
            });
            if kind == "keyDown" {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    pub(super) async fn write(&self, text: &str) {
        self.call("Input.insertText", json!({ "text": text })).await;
    }

    /// Presses Tab until the element is reached. Wherever the focus stands meanwhile must be seen.
    pub(super) async fn tab_to(&self, selector: &str) {
        let there = format!("!!document.activeElement?.matches({})", json!(selector));
        for _ in 0..80 {
            self.press(Key::Tab).await;
            let unseen = self.look(UNSEEN_FOCUS).await;
            assert!(unseen.is_null(), "the focus is not seen on {unseen}");
            if self.look(&there).await == true {
                return;
            }
        }
        panic!("{selector} is not reached by the keyboard");
    }
}

/// A key of the keyboard.
#[derive(Clone, Copy)]
pub(super) enum Key {
    Tab,
    Enter,
    Space,
    Down,
}

/// The focused element when nothing is drawn around it.
const UNSEEN_FOCUS: &str = "(() => {
  const at = document.activeElement;
  if (!at || at === document.body || at === document.documentElement) return null;
  const style = getComputedStyle(at);
  const drawn = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  return drawn ? null : at.outerHTML.slice(0, 120);
})()";

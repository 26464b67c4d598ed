//! A browser as simple as the cheapest phone's: it keeps a page's cookie and sends forms.

use std::fmt::Write as _;

use reqwest::{
    Client, RequestBuilder, Response,
    header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE},
    redirect,
};

#[expect(
    clippy::disallowed_methods,
    reason = "a browser, not an outbound call of ours"
)]
pub(super) fn client() -> Client {
    Client::builder()
        .redirect(redirect::Policy::none())
        .build()
        .unwrap()
}

/// An opened page.
pub(super) struct Page {
    client: Client,
    pub(super) url: String,
    pub(super) html: String,
    pub(super) cookie: String,
}

impl Page {
    pub(super) async fn open(url: &str) -> Self {
        let client = client();
        let response = client.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200, "{url}");
        let cookie = response
            .headers()
            .get(SET_COOKIE)
            .map(|it| it.to_str().unwrap().to_owned())
            .unwrap_or_default();
        Self {
            // The one escape that tests would stumble over; it stands for nothing dangerous.
            html: response.text().await.unwrap().replace("&#x2f;", "/"),
            url: url.split(['?', '#']).next().unwrap().to_owned(),
            cookie,
            client,
        }
    }

    /// The value of the first hidden field of a name.
    pub(super) fn hidden(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.html.split_once(&mark).expect(name);
        rest.split_once('"').unwrap().0.to_owned()
    }

    pub(super) fn has(&self, text: &str) -> bool {
        self.html.contains(text)
    }

    /// A form of the page, filled in and not yet sent.
    pub(super) fn form(&self, action: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        self.post(action).form(fields)
    }

    /// The same, encoded as browsers encode our forms with free words.
    pub(super) fn multipart_form(&self, action: &str, body: String) -> RequestBuilder {
        self.post(action)
            .header(CONTENT_TYPE, "multipart/form-data; boundary=XyZ")
            .body(body)
    }

    fn post(&self, action: &str) -> RequestBuilder {
        let (cookie, _) = self.cookie.split_once(';').unwrap();
        self.client
            .post(format!("{}/{action}", self.url))
            .header(COOKIE, cookie)
            .header("sec-fetch-site", "same-origin")
            .header("origin", "null")
    }

    /// Sends a form and follows the redirect.
    pub(super) async fn send(&self, action: &str, fields: &[(&str, &str)]) -> Self {
        self.follow(self.form(action, fields).send().await.unwrap(), action)
            .await
    }

    /// Sends a form with free words and follows the redirect.
    pub(super) async fn send_multipart(&self, action: &str, fields: &[(&str, &str)]) -> Self {
        let request = self.multipart_form(action, multipart(fields));
        self.follow(request.send().await.unwrap(), action).await
    }

    async fn follow(&self, response: Response, action: &str) -> Self {
        assert_eq!(response.status(), 303, "{action}");
        let location = response.headers()[LOCATION].to_str().unwrap().to_owned();
        let form_url: reqwest::Url = format!("{}/{action}", self.url).parse().unwrap();
        let next = form_url.join(&location).unwrap();
        assert_eq!(
            next.as_str().split(['?', '#']).next(),
            Some(self.url.as_str())
        );
        Self::open(next.as_str()).await
    }
}

pub(super) fn multipart(fields: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (name, value) in fields {
        write!(
            body,
            "--XyZ\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        )
        .unwrap();
    }
    body.push_str("--XyZ--\r\n");
    body
}

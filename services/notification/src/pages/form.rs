//! Reading what a form sends, in either of the two encodings that browsers use.

use axum::{
    Form,
    extract::{FromRequest, Multipart, Request, multipart::MultipartError},
    http::{StatusCode, header::CONTENT_TYPE},
    response::Response,
};

use super::{PagesState, render::Notice};

/// Fields of a form in the order sent. Forms with free words come as multipart, because URL-encoding makes nine bytes of
/// a Chinese character and 2,000 of them would not fit.
pub(super) struct FormFields(Vec<(String, String)>);

impl FormFields {
    /// These fields.
    #[cfg(any(test, feature = "testkit"))]
    pub(super) const fn of(fields: Vec<(String, String)>) -> Self {
        Self(fields)
    }

    /// The first field of a name; empty when it was not sent.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(field, _)| field == name)
            .map_or("", |(_, value)| value)
    }

    /// All fields of a name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }
}

impl FromRequest<PagesState> for FormFields {
    type Rejection = Response;

    async fn from_request(request: Request, state: &PagesState) -> Result<Self, Response> {
        read(request, state).await.map(Self).map_err(|status| {
            state.notice(if status == StatusCode::PAYLOAD_TOO_LARGE {
                Notice::TooLarge
            } else {
                Notice::BadForm
            })
        })
    }
}

/// The fields, whatever the state is: it has no part in reading them.
pub(super) async fn read<S: Send + Sync>(
    request: Request,
    state: &S,
) -> Result<Vec<(String, String)>, StatusCode> {
    let multipart = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/form-data"));
    if multipart {
        return read_multipart(request, state).await;
    }
    Form::<Vec<(String, String)>>::from_request(request, state)
        .await
        .map(|Form(fields)| fields)
        .map_err(|rejection| rejection.status())
}

async fn read_multipart<S: Send + Sync>(
    request: Request,
    state: &S,
) -> Result<Vec<(String, String)>, StatusCode> {
    let failed = |error: MultipartError| error.status();
    let mut parts = Multipart::from_request(request, state)
        .await
        .map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut fields = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(failed)? {
        let Some(name) = part.name().map(ToOwned::to_owned) else {
            return Err(StatusCode::BAD_REQUEST);
        };
        // No form of ours has a file.
        if part.file_name().is_some() {
            return Err(StatusCode::BAD_REQUEST);
        }
        fields.push((name, part.text().await.map_err(failed)?));
    }
    Ok(fields)
}

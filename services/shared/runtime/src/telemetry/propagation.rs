//! The trace that a piece of work belongs to, carried between processes as W3C Trace Context has it:
//! in headers and metadata as `traceparent` and `tracestate`, in database rows as `traceparent` alone.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::MetadataMap;
use tracing::Span;
use tracing_opentelemetry::{OpenTelemetrySpanExt as _, SetParentError};

const TRACEPARENT: &str = "traceparent";

/// Makes the caller's trace, as the headers of an HTTP request name it, the parent of `span`.
/// Do it before the span is entered for the first time; without a (valid) header the span begins a trace of its own.
pub fn set_parent_from_headers(span: &Span, headers: &HeaderMap) {
    set_parent(
        span,
        &TraceContextPropagator::new().extract(&Headers(headers)),
    );
}

/// The same for the metadata of a gRPC call.
pub fn set_parent_from_metadata(span: &Span, metadata: &MetadataMap) {
    set_parent_from_headers(span, metadata.as_ref());
}

/// The same for a `traceparent` that was kept in a row.
pub fn set_parent_from_traceparent(span: &Span, traceparent: &str) {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    set_parent(span, &TraceContextPropagator::new().extract(&carrier));
}

/// Tells an HTTP server which trace this request belongs to. Without a collector there is none, and nothing is added.
pub fn inject_into_headers(headers: &mut HeaderMap) {
    TraceContextPropagator::new()
        .inject_context(&Span::current().context(), &mut HeadersMut(headers));
}

/// The same for the metadata of a gRPC call.
pub fn inject_into_metadata(metadata: &mut MetadataMap) {
    inject_into_headers(metadata.as_mut());
}

/// The current trace as it is kept in a row (55 characters). `None` without a collector.
pub fn current_traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

fn set_parent(span: &Span, context: &Context) {
    // Without a collector, or with the span filtered out, there is no trace to continue.
    if let Err(SetParentError::AlreadyStarted) = span.set_parent(context.clone()) {
        tracing::debug!("the span had begun before its parent was known");
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    /// Runs `work` as a process with a collector would.
    fn traced(work: impl FnOnce()) {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let subscriber =
            tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));
        tracing::subscriber::with_default(subscriber, work);
    }

    #[test]
    fn a_trace_goes_on_through_headers_metadata_and_rows() {
        traced(|| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, HeaderValue::from_static(CALLER));
            let from_headers = tracing::info_span!("from headers");
            set_parent_from_headers(&from_headers, &headers);
            let metadata = MetadataMap::from_headers(headers);
            let from_metadata = tracing::info_span!("from metadata");
            set_parent_from_metadata(&from_metadata, &metadata);
            let from_row = tracing::info_span!("from row");
            set_parent_from_traceparent(&from_row, CALLER);

            for span in [from_headers, from_metadata, from_row] {
                span.in_scope(|| {
                    let traceparent = current_traceparent().unwrap();
                    assert_eq!(traceparent.len(), 55);
                    assert_eq!(&traceparent[3..35], TRACE);
                    assert_ne!(
                        &traceparent[36..52],
                        "00f067aa0ba902b7",
                        "a span of its own"
                    );

                    let mut headers = HeaderMap::new();
                    inject_into_headers(&mut headers);
                    assert_eq!(headers[TRACEPARENT], traceparent.as_str());
                    let mut metadata = MetadataMap::new();
                    inject_into_metadata(&mut metadata);
                    assert_eq!(metadata.get(TRACEPARENT).unwrap(), traceparent.as_str());
                });
            }
        });
    }

    #[test]
    fn a_traceparent_that_makes_no_sense_begins_a_new_trace() {
        traced(|| {
            let span = tracing::info_span!("own");
            set_parent_from_traceparent(&span, "00-zz-00f067aa0ba902b7-01");
            span.in_scope(|| assert_ne!(&current_traceparent().unwrap()[3..35], TRACE));
        });
    }

    #[test]
    fn without_a_collector_there_is_no_trace() {
        let span = tracing::info_span!("untraced");
        set_parent_from_traceparent(&span, CALLER);
        span.in_scope(|| {
            assert_eq!(current_traceparent(), None);
            let mut headers = HeaderMap::new();
            inject_into_headers(&mut headers);
            assert!(headers.is_empty());
        });
    }
}

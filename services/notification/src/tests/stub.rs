//! An order service that keeps what it is told and answers as it is asked to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, routing::post};
use countersign_proto::v1;
use tonic::{Code, Request, Response, Status};

/// One call as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) method: &'static str,
    pub(super) name: String,
    pub(super) request_id: String,
    pub(super) caller: String,
}

#[derive(Clone, Default)]
pub(super) struct OrderStub {
    told: Arc<Mutex<Vec<Told>>>,
    refusals: Arc<Mutex<VecDeque<Code>>>,
}

impl OrderStub {
    /// Answers the next calls so, one after the other; then with success.
    pub(super) fn refuse(&self, codes: &[Code]) {
        self.refusals.lock().unwrap().extend(codes);
    }

    pub(super) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    fn take<M>(
        &self,
        request: &Request<M>,
        method: &'static str,
        name: &str,
        request_id: &str,
    ) -> Result<(), Status> {
        let caller = request.metadata().get("x-countersign-caller").unwrap();
        self.told.lock().unwrap().push(Told {
            method,
            name: name.to_owned(),
            request_id: request_id.to_owned(),
            caller: caller.to_str().unwrap().to_owned(),
        });
        match self.refusals.lock().unwrap().pop_front() {
            Some(code) => Err(Status::new(code, "as asked")),
            None => Ok(()),
        }
    }

    /// Serves on a free port; answers where.
    #[expect(clippy::disallowed_methods, reason = "a server for one test")]
    pub(super) async fn serve(&self) -> String {
        macro_rules! method {
            ($router:expr, $method:literal, $request:ident, $response:ident, $name:ident) => {{
                let stub = self.clone();
                $router.route(
                    concat!("/countersign.v1.OrderService/", $method),
                    post(move |request: http::Request<Body>| async move {
                        let service = tower::service_fn(move |request: Request<v1::$request>| {
                            let stub = stub.clone();
                            async move {
                                let inner = request.get_ref();
                                let (name, id) = (inner.$name.clone(), inner.request_id.clone());
                                stub.take(&request, $method, &name, &id)
                                    .map(|()| Response::new(v1::$response::default()))
                            }
                        });
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec);
                        grpc.unary(service, request).await.map(Body::new)
                    }),
                )
            }};
        }
        let router = Router::new();
        let router = method!(
            router,
            "AcceptConfirmation",
            AcceptConfirmationRequest,
            Order,
            name
        );
        let router = method!(
            router,
            "RejectConfirmation",
            RejectConfirmationRequest,
            Order,
            name
        );
        let router = method!(
            router,
            "VerifyConfirmationCode",
            VerifyConfirmationCodeRequest,
            Order,
            name
        );
        let router = method!(
            router,
            "RecordCallResult",
            RecordCallResultRequest,
            Order,
            name
        );
        let router = method!(
            router,
            "CreateOrderContact",
            CreateOrderContactRequest,
            OrderContact,
            parent
        );
        let router = method!(router, "HoldOrder", HoldOrderRequest, Order, name);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        url
    }
}

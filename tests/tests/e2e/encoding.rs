//! Bytes that are no text, and text that is more than one column of a database holds.

use countersign_e2e::{System, order_builder};
use countersign_store::testing::TestDatabase;
use prost::{
    Message as _,
    bytes::{Buf as _, BufMut as _},
};
use tonic::{
    Code, Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Endpoint,
};

#[tokio::test]
async fn b_20_notes_of_more_than_65535_bytes_together_come_back_whole() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let mut client = system.orders().await;
        // Four bytes a character: from below what a column for text holds to far beyond it.
        for count in [15, 16, 17, 64] {
            let request = order_builder()
                .with(|order| {
                    for number in 0..count {
                        let note = "𝕏".repeat(1_024);
                        order.annotations.insert(format!("note-{number}"), note);
                    }
                })
                .request();
            let sent = request.order.clone().unwrap().annotations;
            let name = client
                .create_order(request)
                .await
                .unwrap()
                .into_inner()
                .name;
            assert_eq!(system.order(&name).await.annotations, sent, "{count}");
        }
    }
}

/// Sends what it is given as it is.
#[derive(Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

#[tokio::test]
async fn b_20_text_that_is_not_utf_8_is_refused_as_wrong_and_not_stored() {
    let system = System::sqlite().await;
    let address = format!("http://{}", system.replicas[0].address);
    let channel = Endpoint::new(address).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    for wrong in [
        &b"\xff\xfe\xfd\xfc"[..],
        b"\xc0\x80ab",
        b"\xed\xa0\x80a",
        b"abc\xe4",
    ] {
        let request = order_builder()
            .with(|order| order.client_reference = "MARK".to_owned())
            .request();
        let mut bytes = request.encode_to_vec();
        let place = bytes.windows(4).position(|part| part == b"MARK").unwrap();
        bytes[place..place + 4].copy_from_slice(wrong);
        let mut request = Request::new(bytes);
        let caller = "shop".parse().unwrap();
        request
            .metadata_mut()
            .insert("x-countersign-caller", caller);
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/countersign.v1.OrderService/CreateOrder");
        let refused = client.unary(request, path, Bytes).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    assert!(system.all_orders().await.is_empty());
}

"""Walks an order from intake to confirmation with nothing but grpcio and what the server tells of itself by reflection.

Usage: walk_order.py HOST:PORT — prints the order's name at the end.
"""

import sys

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class Service:
    """A service whose methods take dictionaries and answer dictionaries."""

    def __init__(self, channel, pool, name):
        self.channel = channel
        self.descriptor = pool.FindServiceByName(name)

    def call(self, method, request, caller="python"):
        descriptor = self.descriptor.methods_by_name[method]
        request_class = message_factory.GetMessageClass(descriptor.input_type)
        response_class = message_factory.GetMessageClass(descriptor.output_type)
        stub = self.channel.unary_unary(
            f"/{self.descriptor.full_name}/{method}",
            request_serializer=request_class.SerializeToString,
            response_deserializer=response_class.FromString,
        )
        answer, call = stub.with_call(
            json_format.ParseDict(request, request_class()),
            metadata=(("x-countersign-caller", caller),),
            timeout=10,
        )
        return json_format.MessageToDict(answer), dict(call.initial_metadata())


def refusal_types():
    """google.rpc's Status and BadRequest as far as they are read here: no package of ready-made ones is needed."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="refusal.proto", package="google.rpc", syntax="proto3", dependency=["google/protobuf/any.proto"]
    )
    field_type = descriptor_pb2.FieldDescriptorProto

    def message(parent, name, *fields):
        made = parent.add(name=name)
        for number, field, kind, type_name in fields:
            label = field_type.LABEL_REPEATED if type_name else field_type.LABEL_OPTIONAL
            made.field.add(name=field, number=number, type=kind, type_name=type_name, label=label)
        return made

    message(file.message_type, "Status", (3, "details", field_type.TYPE_MESSAGE, ".google.protobuf.Any"))
    bad = message(
        file.message_type,
        "BadRequest",
        (1, "field_violations", field_type.TYPE_MESSAGE, ".google.rpc.BadRequest.FieldViolation"),
    )
    message(bad.nested_type, "FieldViolation", (1, "field", field_type.TYPE_STRING, None))
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"google.rpc.{name}"))
        for name in ("Status", "BadRequest")
    ]


def wrong_fields(error):
    """The fields that a refusal names."""
    status_class, bad_request_class = refusal_types()
    status = status_class.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    for detail in status.details:
        if detail.type_url.endswith("/google.rpc.BadRequest"):
            return [violation.field for violation in bad_request_class.FromString(detail.value).field_violations]
    return []


def order(reference):
    price = {"currencyCode": "CNY", "units": "129"}
    return {
        "clientReference": reference,
        "orderType": "ECOMMERCE",
        "sourceChannel": "python",
        "customer": "customers/py-1",
        "contact": {"displayName": "张伟", "email": "wei@example.com", "phone": "138 1234 5678"},
        "delivery": {
            "address": {
                "regionCode": "CN",
                "postalCode": "200040",
                "administrativeArea": "Shanghai",
                "locality": "Shanghai",
                "addressLines": ["1266 West Nanjing Road"],
            }
        },
        "lines": [
            {
                "sku": "KETTLE-17",
                "goodsName": "Electric kettle",
                "specification": "1.7 l, steel",
                "quantity": "1",
                "unitPrice": price,
            }
        ],
        "paymentMethod": "PAYMENT_METHOD_PREPAID",
        "total": price,
    }


def main(address):
    channel = grpc.insecure_channel(address)
    database = ProtoReflectionDescriptorDatabase(channel)
    services = list(database.get_services())
    assert "countersign.v1.OrderService" in services, services
    assert "grpc.health.v1.Health" in services, services
    pool = descriptor_pool.DescriptorPool(database)
    orders = Service(channel, pool, "countersign.v1.OrderService")
    health, _ = Service(channel, pool, "grpc.health.v1.Health").call("Check", {})
    assert health["status"] == "SERVING", health

    request = {"requestId": "py-create-1", "order": order("py-0001")}
    created, _ = orders.call("CreateOrder", request)
    assert created["state"] == "ORDER_STATE_AWAITING_CONFIRMATION", created
    again, metadata = orders.call("CreateOrder", request)
    assert again == created
    assert metadata.get("idempotent-replayed") == "true", metadata

    wrong = order("py-0002")
    wrong["lines"][0]["quantity"] = "0"
    try:
        orders.call("CreateOrder", {"requestId": "py-create-2", "order": wrong})
        raise AssertionError("an order of nothing was taken")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        assert wrong_fields(error) == ["order.lines[0].quantity"], error

    name = created["name"]
    listed, _ = orders.call("ListOrders", {"pageSize": 10})
    assert [entry["name"] for entry in listed["orders"]] == [name], listed
    rounds, _ = orders.call("ListConfirmations", {"parent": name})
    assert rounds["confirmations"][0]["state"] == "CONFIRMATION_STATE_OPEN", rounds
    accepted, _ = orders.call(
        "AcceptConfirmation",
        {
            "name": rounds["confirmations"][0]["name"],
            "requestId": "py-yes-1",
            "answerChannel": "ANSWER_CHANNEL_STAFF",
            "amount": created["total"],
            "answeredBy": "mei",
        },
    )
    assert accepted["orderNumber"], accepted
    trace, _ = orders.call("GetOrderTrace", {"name": accepted["orderNumber"]})
    assert [event["kind"] for event in trace["events"]] == ["order.received", "order.confirmed"], trace
    print(name)


if __name__ == "__main__":
    main(sys.argv[1])

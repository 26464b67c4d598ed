//! A company's own order types and rules.

use countersign_domain::ids::OrderId;
use countersign_e2e::{System, fresh_id, link_key, order_builder, refused, violated_fields};
use countersign_proto::v1::{self, OrderState as S, policy_service_client::PolicyServiceClient};
use tonic::{Code, transport::Channel};

type Policies = PolicyServiceClient<Channel>;

async fn policies(system: &System) -> Policies {
    let address = system.replicas[0].address;
    Policies::connect(format!("http://{address}"))
        .await
        .unwrap()
}

async fn ecommerce(client: &mut Policies) -> v1::OrderPolicy {
    client
        .get_order_policy(v1::GetOrderPolicyRequest {
            name: "orderPolicies/ECOMMERCE".to_owned(),
        })
        .await
        .unwrap()
        .into_inner()
}

async fn state_of(system: &System, order_type: &str) -> S {
    let request = order_builder()
        .with(|order| order.order_type = order_type.to_owned())
        .request();
    let mut orders = system.orders().await;
    orders
        .create_order(request)
        .await
        .unwrap()
        .get_ref()
        .state()
}

#[tokio::test]
async fn a_company_makes_an_order_type_and_takes_orders_of_it() {
    let system = System::sqlite().await;
    let mut client = policies(&system).await;
    let mut policy = ecommerce(&mut client).await;
    policy.display_name = "Gift order".to_owned();
    policy.service_terms = vec!["Gifts are wrapped".to_owned()];
    let create = v1::CreateOrderPolicyRequest {
        order_policy_id: "GIFT".to_owned(),
        order_policy: Some(policy.clone()),
        request_id: fresh_id("policy"),
    };
    let made = client
        .create_order_policy(create.clone())
        .await
        .unwrap()
        .into_inner();
    let mut expected = v1::OrderPolicy {
        name: "orderPolicies/GIFT".to_owned(),
        create_time: made.create_time,
        ..policy
    };
    assert_eq!(made, expected);
    let again = client.create_order_policy(create.clone()).await.unwrap();
    assert!(again.metadata().get("idempotent-replayed").is_some());
    let taken = client
        .create_order_policy(v1::CreateOrderPolicyRequest {
            request_id: fresh_id("policy"),
            ..create
        })
        .await;
    refused(taken, Code::AlreadyExists);
    assert_eq!(state_of(&system, "GIFT").await, S::AwaitingConfirmation);

    // A new version holds for the next order.
    expected.auto_approve = false;
    let update = v1::UpdateOrderPolicyRequest {
        order_policy: Some(expected.clone()),
        request_id: fresh_id("policy"),
    };
    let updated = client
        .update_order_policy(update)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(updated.version, 2);
    assert_eq!(state_of(&system, "GIFT").await, S::UnderAudit);
    let outdated = client
        .update_order_policy(v1::UpdateOrderPolicyRequest {
            order_policy: Some(expected),
            request_id: fresh_id("policy"),
        })
        .await;
    refused(outdated, Code::Aborted);

    let listed = client
        .list_order_policies(v1::ListOrderPoliciesRequest {})
        .await
        .unwrap()
        .into_inner()
        .order_policies;
    assert_eq!(listed.len(), 5);
    assert!(listed.contains(&updated));
}

#[tokio::test]
async fn everything_wrong_with_a_policy_is_named_by_its_field() {
    let system = System::sqlite().await;
    let mut client = policies(&system).await;
    let mut policy = ecommerce(&mut client).await;
    policy.confirmation_mode = 0;
    policy.confirmation_window = None;
    policy.completion_window = Some(prost_types::Duration {
        seconds: 400 * 86_400,
        nanos: 0,
    });
    policy.payment_methods.clear();
    policy.return_days = -1;
    let refusal = client
        .create_order_policy(v1::CreateOrderPolicyRequest {
            order_policy_id: "gift".to_owned(),
            order_policy: Some(policy),
            request_id: fresh_id("policy"),
        })
        .await;
    let status = refused(refusal, Code::InvalidArgument);
    assert_eq!(
        violated_fields(&status),
        [
            "order_policy.completion_window",
            "order_policy.confirmation_mode",
            "order_policy.confirmation_window",
            "order_policy.payment_methods",
            "order_policy.return_days",
            "order_policy_id",
        ]
    );
}

fn rule(expression: &str) -> v1::AuditRule {
    v1::AuditRule {
        dimension: v1::AuditDimension::Compliance.into(),
        expression: expression.to_owned(),
        severity: v1::FindingSeverity::Review.into(),
        message: "entered by the shop".to_owned(),
        options: vec!["ASK".to_owned()],
        hold: v1::HoldReason::Credit.into(),
        enabled: true,
        ..v1::AuditRule::default()
    }
}

#[tokio::test]
async fn a_rule_holds_from_the_next_order_on_and_one_that_does_not_compile_is_refused() {
    let system = System::sqlite().await;
    let mut client = policies(&system).await;
    let create = |expression: &str| v1::CreateAuditRuleRequest {
        audit_rule_id: "no-shop".to_owned(),
        audit_rule: Some(rule(expression)),
        request_id: fresh_id("rule"),
    };
    let refusal = client.create_audit_rule(create("order.total >")).await;
    let status = refused(refusal, Code::InvalidArgument);
    assert_eq!(violated_fields(&status), ["audit_rule.expression"]);

    assert_eq!(
        state_of(&system, "ECOMMERCE").await,
        S::AwaitingConfirmation
    );
    let made = client
        .create_audit_rule(create("order.source_channel == 'web'"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (made.version, made.name.as_str()),
        (1, "auditRules/no-shop")
    );
    assert_eq!(made.options, ["ASK"]);
    assert_eq!(made.hold(), v1::HoldReason::Credit);
    assert_eq!(state_of(&system, "ECOMMERCE").await, S::UnderAudit);

    let off = client
        .update_audit_rule(v1::UpdateAuditRuleRequest {
            audit_rule: Some(v1::AuditRule {
                enabled: false,
                ..made
            }),
            request_id: fresh_id("rule"),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(off.version, 2);
    assert_eq!(
        state_of(&system, "ECOMMERCE").await,
        S::AwaitingConfirmation
    );
    let listed = client
        .list_audit_rules(v1::ListAuditRulesRequest {})
        .await
        .unwrap()
        .into_inner()
        .audit_rules;
    assert!(listed.contains(&off));
}

#[tokio::test]
async fn f_14_a_text_that_only_says_yes_confirms_small_orders_and_the_code_confirms_all() {
    let system = System::sqlite().await;
    system.restock("VASE-1", 100).await;
    let mut orders = system.orders().await;
    let mut taken = async |vases: i64| {
        let request = order_builder().no_lines().line("VASE-1", vases).request();
        let order = orders.create_order(request).await.unwrap().into_inner();
        assert_eq!(order.state(), S::AwaitingConfirmation);
        order
    };
    let (small, large) = (taken(1).await, taken(3).await);
    let yes = |order: &v1::Order| v1::AcceptConfirmationRequest {
        name: format!("{}/confirmations/1", order.name),
        request_id: fresh_id("text"),
        answer_channel: v1::AnswerChannel::Sms.into(),
        answered_by: "customer".to_owned(),
        ..v1::AcceptConfirmationRequest::default()
    };
    let mut client = system.orders().await;
    client.accept_confirmation(yes(&small)).await.unwrap();
    let trace = system.trace(&small.name).await;
    let said = format!("{:?}", trace.events);
    assert!(said.contains("channel_trust=low"), "{said}");

    let refusal = client.accept_confirmation(yes(&large)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert!(refusal.message().contains("the code"), "{refusal:?}");
    let order = system.order(&large.name).await;
    assert_eq!(order.state(), S::AwaitingConfirmation);
    let id = OrderId::from_resource_name(&large.name).unwrap();
    let code = link_key().confirmation_code(id, 1);
    client
        .verify_confirmation_code(v1::VerifyConfirmationCodeRequest {
            name: format!("{}/confirmations/1", large.name),
            request_id: fresh_id("code"),
            code,
            answer_channel: v1::AnswerChannel::Sms.into(),
            ..v1::VerifyConfirmationCodeRequest::default()
        })
        .await
        .unwrap();
    assert_ne!(
        system.order(&large.name).await.state(),
        S::AwaitingConfirmation
    );
}

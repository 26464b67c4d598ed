//! Customers answer by the keyboard alone, in a browser that runs no script.

use countersign_proto::v1::{
    self, OrderState as S, feedback_service_client::FeedbackServiceClient,
};

use super::{
    audit::unsubscribe_path,
    chromium::{Chromium, Key, Phone},
};
use crate::stand::{LANGUAGES, Stand};

const CONFIRM: &str = "form[action$='/confirm'] button";

/// Presses Enter, which sends the form that has the focus.
async fn send(phone: &Phone<'_>) {
    phone.leave(phone.press(Key::Enter)).await;
}

async fn rounds(stand: &Stand, order: &v1::Order) -> Vec<v1::Confirmation> {
    stand.system.trace(&order.name).await.confirmations
}

#[tokio::test]
async fn an_order_is_confirmed_without_script_by_the_keyboard_in_both_languages() {
    let stand = Stand::start().await;
    let chromium = Chromium::start().await;
    for (language, said) in LANGUAGES.into_iter().zip(["您已确认", "You confirmed"]) {
        let order = stand.order(language).await;
        let phone = chromium.phone().await;
        phone.open(&stand.link(&order)).await;
        phone.tab_to(CONFIRM).await;
        send(&phone).await;
        assert!(phone.text().await.contains(said), "{}", phone.text().await);
        let confirmed = stand.system.until(&order.name, S::Allocated).await;
        assert_eq!(
            confirmed.price_agreement.unwrap().answer_channel(),
            v1::AnswerChannel::Link
        );
    }
}

#[tokio::test]
async fn an_objection_is_raised_without_script_by_the_keyboard_in_both_languages() {
    let stand = Stand::start().await;
    let chromium = Chromium::start().await;
    for (language, words) in LANGUAGES
        .into_iter()
        .zip(["杯子应该是蓝色的", "The cups must be blue"])
    {
        let order = stand.order(language).await;
        let phone = chromium.phone().await;
        phone.open(&stand.link(&order)).await;
        phone.tab_to("#answer summary").await;
        phone.press(Key::Space).await;
        phone.tab_to("#category").await;
        phone.press(Key::Down).await;
        let category = phone.look("document.activeElement.value").await;
        assert_ne!(category, "", "the keyboard chooses a category");
        phone.tab_to("input[name=line][value='2']").await;
        phone.press(Key::Space).await;
        phone.tab_to("#object-text").await;
        phone.write(words).await;
        phone.tab_to("form[action$='/object'] button").await;
        send(&phone).await;
        stand.system.until(&order.name, S::Objected).await;
        let round = rounds(&stand, &order).await.remove(0);
        let objection = round.objection.unwrap();
        assert_eq!(objection.line_numbers, [2]);
        assert_eq!(objection.text, words);
        assert!(
            objection
                .category()
                .as_str_name()
                .ends_with(category.as_str().unwrap()),
            "{objection:?}"
        );
    }
}

#[tokio::test]
async fn a_survey_is_answered_without_script_by_the_keyboard_in_both_languages() {
    let stand = Stand::start().await;
    let chromium = Chromium::start().await;
    let address = format!("http://{}", stand.system.replicas[0].address);
    let mut feedback = FeedbackServiceClient::connect(address).await.unwrap();
    for (language, words) in LANGUAGES
        .into_iter()
        .zip(["壶盖有点松", "The lid is loose"])
    {
        let order = stand.delivered(language).await;
        let phone = chromium.phone().await;
        phone.open(&stand.link(&order)).await;
        // The best comes first; one step down is four stars.
        phone.tab_to("input[name=stars]").await;
        phone.press(Key::Space).await;
        phone.press(Key::Down).await;
        phone.tab_to("input[name=tag]").await;
        phone.press(Key::Space).await;
        phone.tab_to("#rate summary").await;
        phone.press(Key::Enter).await;
        phone.tab_to("#line-2").await;
        phone.press(Key::Down).await;
        phone.tab_to("#rate-text").await;
        phone.write(words).await;
        phone.tab_to("form[action$='/rate'] button").await;
        send(&phone).await;
        let mut found = Vec::new();
        for _ in 0..100 {
            let request = v1::ListFeedbackRequest {
                filter: format!("order = \"{}\"", order.name),
                ..v1::ListFeedbackRequest::default()
            };
            found = feedback
                .list_feedback(request)
                .await
                .unwrap()
                .into_inner()
                .feedback;
            if !found.is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(found.len(), 1, "{language}");
        assert_eq!((found[0].stars, found[0].words.as_str()), (4, words));
        assert_eq!(found[0].tags.len(), 1);
        assert_eq!(found[0].source(), v1::FeedbackSource::Page);
        let line = found[0].lines.iter().find(|it| it.line_number == 2);
        assert_eq!(line.map(|it| it.stars), Some(5), "{:?}", found[0]);
    }
}

#[tokio::test]
async fn f_18_the_first_answer_stands_whatever_is_sent_again_or_from_another_tab() {
    let stand = Stand::start().await;
    let chromium = Chromium::start().await;
    let order = stand.order("en").await;
    let (first, second) = (chromium.phone().await, chromium.phone().await);
    first.open(&stand.link(&order)).await;
    second.open(&stand.link(&order)).await;
    first.tab_to(CONFIRM).await;
    send(&first).await;
    let confirmed = stand.system.until(&order.name, S::Allocated).await;

    // Back, and once more; then the other tab says no.
    first.back().await;
    if first
        .look(&format!("!!document.querySelector(\"{CONFIRM}\")"))
        .await
        == true
    {
        first.tab_to(CONFIRM).await;
        send(&first).await;
    }
    second.tab_to("#answer summary").await;
    second.press(Key::Enter).await;
    second.tab_to("#category").await;
    second.press(Key::Down).await;
    second.tab_to("form[action$='/object'] button").await;
    send(&second).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    second.open(&stand.link(&order)).await;
    let text = second.text().await;
    assert!(text.contains("You confirmed this order."), "{text}");
    let after = stand.system.order(&order.name).await;
    assert_eq!(after.state(), S::Allocated);
    assert_eq!(after.price_agreement, confirmed.price_agreement);
    assert_eq!(
        rounds(&stand, &order).await[0].state(),
        v1::ConfirmationState::Accepted
    );
}

#[tokio::test]
async fn letters_are_stopped_without_script_by_the_keyboard() {
    let stand = Stand::start().await;
    let chromium = Chromium::start().await;
    let phone = chromium.phone().await;
    phone
        .open(&format!("http://{}{}", stand.pages, unsubscribe_path()))
        .await;
    assert_eq!(stand.count("opt_outs").await, 0);
    phone.tab_to("button").await;
    send(&phone).await;
    assert_eq!(stand.count("opt_outs").await, 1);
}

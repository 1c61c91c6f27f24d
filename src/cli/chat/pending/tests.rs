use super::*;

/// At 14:00 UTC.
const NOW: i64 = 1_700_056_800;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a time")
}

fn function(id: &str) -> FunctionCall {
    FunctionCall { tool_call_id: id.into(), name: id.into(), arguments: "{}".into(), ..FunctionCall::default() }
}

fn consent(id: &str) -> FunctionCall {
    FunctionCall { confirmation_status: ConfirmationStatus::Pending.into(), ..function(id) }
}

fn until(id: &str, after_s: i64) -> FunctionCall {
    let expires_at = prost_types::Timestamp { seconds: NOW + after_s, nanos: 0 };
    FunctionCall { confirmation_expires_at: Some(expires_at), ..consent(id) }
}

/// A function between two tools that need consent.
fn mixed() -> Pending {
    Pending::new(vec![consent("first"), function("local"), consent("second")])
}

/// Each decision as a line.
fn decisions(pending: &Pending) -> Vec<String> {
    let told = pending.answers("mia").confirmations.into_iter().map(|given| {
        assert_eq!(given.decided_by, "mia");
        let extra = format!("{}{}", given.arguments, given.reason);
        format!("{} {} {extra}", given.tool_call_id, given.confirmation().as_str_name()).trim_end().to_owned()
    });
    told.collect()
}

#[test]
fn both_kinds_go_in_one_turn_when_all_is_said() {
    let mut pending = mixed();
    assert_eq!(pending.next().map(|call| call.name.as_str()), Some("first"));
    pending.say(" Yes ").expect("a plain yes");
    assert_eq!(pending.next().map(|call| call.name.as_str()), Some("local"));
    pending.give_result("42".into()).expect("it is asked for");
    pending.deny(&Which::Only, "not now").expect("one is left");
    assert_eq!(pending.open_count(), 0);
    assert_eq!(decisions(&pending), ["first CONFIRMATION_ALLOW", "second CONFIRMATION_DENY not now"]);
    assert_eq!(pending.answers("mia").results.len(), 1);
}

#[test]
fn numbers_count_what_needs_consent_and_a_later_word_holds() {
    let mut pending = mixed();
    pending.approve(&Which::Numbers(vec![2]), Some("{\"a\":1}")).expect("there are two");
    assert_eq!(decisions(&pending), ["second CONFIRMATION_ALLOW {\"a\":1}"]);
    pending.deny(&Which::Numbers(vec![2]), "").expect("it was not sent yet");
    // What was decided stays decided.
    pending.approve(&Which::All, None).expect("one is undecided");
    assert_eq!(decisions(&pending), ["first CONFIRMATION_ALLOW", "second CONFIRMATION_DENY"]);
    pending.forget();
    assert_eq!((pending.open_count(), pending.has_answers()), (3, false));
}

#[test]
fn what_is_not_clear_decides_nothing() {
    let mut pending = mixed();
    let refused = [
        pending.approve(&Which::Only, None),
        pending.approve(&Which::Numbers(vec![1, 3]), None),
        pending.approve(&Which::Numbers(vec![0]), None),
        pending.approve(&Which::All, Some("{}")),
        pending.deny(&Which::Only, "why not"),
        pending.say("yes please"),
        pending.say(""),
        Pending::new(vec![function("local")]).approve(&Which::All, None),
        Pending::new(vec![consent("first")]).give_result("42".into()),
    ];
    for (i, refused) in refused.iter().enumerate() {
        assert!(refused.is_err(), "{i}");
    }
    assert!(!pending.has_answers());
}

#[test]
fn calls_are_told_with_the_time_that_is_left() {
    let calls = vec![consent("a"), function("local"), until("b", 180), until("c", -60), until("d", 86_400 * 3)];
    let expected = [
        "1  a({}) needs your consent",
        "→ local({})",
        "2  b({}) needs your consent until 14:03 UTC",
        "3  c({}) needed your consent until 13:59 UTC",
        "4  d({}) needs your consent until 18 November 2023 14:00 UTC",
    ];
    assert_eq!(Pending::new(calls).lines(now()), expected);
}

#[test]
fn what_came_too_late_is_not_asked_again() {
    let mut pending = Pending::new(vec![until("a", 1), until("b", 1), consent("c")]);
    assert!(!pending.is_over(now()));
    pending.approve(&Which::All, None).expect("all wait");
    assert_eq!(pending.came_too_late("a,b"), ["a({})", "b({})"]);
    pending.forget();
    assert_eq!(pending.next().map(|call| call.name.as_str()), Some("c"));
    assert!(pending.approve(&Which::Numbers(vec![1]), None).is_err());
    pending.approve(&Which::All, None).expect("one is left");
    assert_eq!(decisions(&pending), ["c CONFIRMATION_ALLOW"]);
}

#[test]
fn a_turn_goes_on_when_nobody_can_answer_any_more() {
    assert!(Pending::new(vec![until("a", -1)]).is_over(now()));
    assert!(Pending::new(vec![until("a", 0)]).is_over(now()));
    for waits in [vec![until("a", 1)], vec![until("a", -1), consent("b")], vec![until("a", -1), function("b")]] {
        assert!(!Pending::new(waits).is_over(now()));
    }
    assert!(!Pending::default().is_over(now()), "nothing waits at all");
    let mut late = Pending::new(vec![consent("a")]);
    late.came_too_late("a");
    assert!(late.is_over(now()), "the service's clock counts");
}

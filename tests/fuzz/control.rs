//! A client's bytes to the control socket: each call in them gets one answer,
//! in their order, until one is none.

use std::cell::LazyCell;

use serde_json::Value;
use vipd::io::control::fuzzing::Server;

use super::Said;

thread_local! {
    static SERVER: LazyCell<Server> = LazyCell::new(|| {
        Server::new().unwrap_or_else(|error| panic!("no runtime: {error}"))
    });
}

pub(super) fn check(data: &[u8]) -> Said {
    let answers = SERVER.with(|server| server.answers(data));
    let calls = data.split(|byte| *byte == 0);
    // What follows the last NUL is no call.
    let mut calls = calls.take(data.iter().filter(|byte| **byte == 0).count());

    let Some(answers) = answers.strip_suffix(&[0]) else {
        assert!(answers.is_empty(), "the last answer is cut short");
        assert!(calls.next().is_none(), "a call without an answer");
        return Said::No;
    };
    let mut served = false;
    for answer in answers.split(|byte| *byte == 0) {
        let answer: Value = serde_json::from_slice(answer)
            .unwrap_or_else(|error| panic!("the answer is no JSON: {error}"));
        let error = answer["error"].as_str().expect("each is refused here");
        let call = calls.next();
        if call.is_some_and(|call| is_answered(call, error, &answer["parameters"])) {
            served = true;
        } else {
            assert_eq!(error, "org.vipd.InvalidRequest");
        }
    }
    served.into()
}

/// Whether it was a call, and it was answered by what it says.
fn is_answered(call: &[u8], error: &str, parameters: &Value) -> bool {
    let Ok(call) = serde_json::from_slice::<Value>(call) else {
        return false;
    };
    let sent = &call["parameters"];
    let is_same = if sent.is_null() {
        *parameters == serde_json::json!({})
    } else {
        sent == parameters
    };
    is_same && call["method"] == *error
}

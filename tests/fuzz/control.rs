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
    let as_root = answers_to(data, 0);
    let as_nobody = answers_to(data, NOBODY);
    (as_root || as_nobody).into()
}

/// Whether the client was served. The daemon refuses each call by its method, and so
/// tells what it heard.
fn answers_to(data: &[u8], uid: u32) -> bool {
    let answers = SERVER.with(|server| server.answers(data, uid));
    let calls = data.split(|byte| *byte == 0);
    // What follows the last NUL is no call.
    let calls = calls.take(data.iter().filter(|byte| **byte == 0).count());
    let mut calls = calls.filter(|call| !is_oneway(call));

    let Some(answers) = answers.strip_suffix(&[0]) else {
        assert!(answers.is_empty(), "the last answer is cut short");
        assert!(calls.next().is_none(), "a call without an answer");
        return false;
    };
    let mut served = false;
    for answer in answers.split(|byte| *byte == 0) {
        let answer: Value = serde_json::from_slice(answer)
            .unwrap_or_else(|error| panic!("the answer is no JSON: {error}"));
        assert!(
            answer.get("continues").is_none(),
            "nothing is followed here"
        );
        let call = calls.next();
        let call = call.and_then(|call| serde_json::from_slice::<Value>(call).ok());
        if call.is_some_and(|call| is_answered(&call, &answer, uid)) {
            served = true;
        } else {
            assert_eq!(answer["error"], "org.vipd.InvalidRequest");
        }
    }
    served
}

/// A call that wants no answer. What is none at all gets one.
fn is_oneway(call: &[u8]) -> bool {
    let Ok(Value::Object(call)) = serde_json::from_slice(call) else {
        return false;
    };
    let is_flag = |name: &str| call.get(name).is_none_or(Value::is_boolean);
    call.get("oneway") == Some(&Value::Bool(true))
        && is_flag("more")
        && call.get("method").is_some_and(Value::is_string)
}

/// Whether the answer is what the call is to be answered with.
fn is_answered(call: &Value, answer: &Value, uid: u32) -> bool {
    let error = answer["error"].as_str();
    let Some(method) = call["method"].as_str() else {
        return false;
    };
    let sent = match &call["parameters"] {
        Value::Null => &serde_json::json!({}),
        sent => sent,
    };
    match method {
        "org.varlink.service.GetInfo" => error.is_none() && answer["parameters"].is_object(),
        "org.varlink.service.GetInterfaceDescription" => match error {
            None => answer["parameters"]["description"].is_string(),
            Some(error) => error.starts_with("org.varlink.service."),
        },
        _ if error == Some("org.vipd.PermissionDenied") => uid == NOBODY,
        _ if error == Some("org.varlink.service.ExpectedMore") => method == "org.vipd.Events",
        _ if error == Some("org.varlink.service.MethodNotFound") => {
            answer["parameters"]["method"] == method
        }
        _ => error == Some(method) && answer["parameters"] == *sent,
    }
}

/// Somebody who may read only.
const NOBODY: u32 = 65534;

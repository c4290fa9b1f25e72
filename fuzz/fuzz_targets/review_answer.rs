//! A body → the webhook's answer: what is refused says why, and the uid comes back wherever it could be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use stockade_webhooks::Action;
use stockade_webhooks::answer::Answer;
use stockade_webhooks::decide::decide;
use stockade_webhooks::review::Request;

fuzz_target!(|body: &[u8]| {
    let (uid, answers) = match Request::parse(body) {
        Err(malformed) => (malformed.uid.clone(), vec![Answer::malformed(&malformed)]),
        Ok(request) => {
            let answer = |action| match decide(&request, action, &[]) {
                Ok(decision) => Answer::to(&request, decision),
                Err(malformed) => Answer::malformed(&malformed),
            };
            (Some(request.uid.clone()), vec![answer(Action::Deny), answer(Action::Warn)])
        }
    };
    for answer in answers {
        let answer = serde_json::to_value(&answer).expect("an answer is JSON");
        let response = &answer["response"];
        assert_eq!(response["uid"].as_str(), Some(uid.as_deref().unwrap_or_default()));
        let allowed = response["allowed"] == Value::Bool(true);
        assert_ne!(allowed, response["status"]["message"].as_str().is_some_and(|message| !message.is_empty()));
        let warnings = response["warnings"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(warnings.len() <= 10);
        assert!(
            warnings.iter().all(|line| line.as_str().is_some_and(|line| line.len() <= 200 && !line.contains('\n')))
        );
    }
});

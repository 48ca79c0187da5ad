//! What is concluded from adverts and claims.

use super::super::Level;
use super::super::tests::group;
use super::*;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 100);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const ONE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const TWO: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn seen(vhid: u8, last: u8) -> Advert {
    Advert {
        vhid,
        source: Ipv4Addr::new(10, 99, 0, last),
    }
}

#[test]
fn an_advert_is_known_by_vhid_and_source_whatever_the_headers_length() {
    let mut frame = vec![0; 14];
    frame.extend([
        0x46, 0, 0, 60, 0, 0, 0, 0, 255, 112, 0, 0, 10, 99, 0, 1, 224, 0, 0, 18,
    ]);
    // Four bytes of options.
    frame.extend([0; 4]);
    frame.extend([0x21, 42, 0, 7]);
    assert_eq!(Advert::parse(&frame), Some(seen(42, 1)));
    for length in 0..frame.len() - 2 {
        assert_eq!(Advert::parse(&frame[..length]), None, "{length}");
    }
}

#[test]
fn adverts_that_do_not_come_or_are_not_heard_are_told_apart() {
    let backup = group(|_| {});
    let master = group(|json| json["role"] = "master".into());
    let alone = group(|json| json["master"] = serde_json::Value::Null);
    for (group, adverts_seen, heard, level, words) in [
        (&backup, vec![seen(42, 1)], 1, Level::Ok, "heard them"),
        (
            &backup,
            vec![seen(42, 1)],
            0,
            Level::Fail,
            "the daemon heard none",
        ),
        (
            &backup,
            vec![],
            0,
            Level::Fail,
            "10.99.0.1 should be master",
        ),
        (
            &backup,
            vec![seen(43, 1), seen(42, 2)],
            0,
            Level::Fail,
            "no advert came",
        ),
        (&alone, vec![], 0, Level::Ok, "nobody else"),
        (&master, vec![seen(42, 2)], 0, Level::Ok, "nobody else"),
        (
            &master,
            vec![seen(42, 1)],
            0,
            Level::Fail,
            "the daemon heard none",
        ),
        (&master, vec![seen(42, 1)], 1, Level::Warn, "advertises too"),
    ] {
        let finding = adverts(group, &adverts_seen, &[OWN], heard, LEAST);
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.text.contains(words), "{finding:?} lacks {words}");
    }
}

#[test]
fn one_may_answer_and_two_may_not() {
    let backup = group(|_| {});
    let owner = group(|json| json["owner_mac"] = "02:00:00:00:00:02".into());
    for (group, macs, level, words) in [
        (&backup, vec![ONE], Level::Ok, "at most"),
        (
            &backup,
            vec![ONE, [2, 0, 0, 0, 0, 9]],
            Level::Fail,
            "02:00:00:00:00:01 and 02:00:00:00:00:09 both",
        ),
        (
            &backup,
            vec![],
            Level::Warn,
            "nobody answers for 10.99.0.100",
        ),
        (&owner, vec![], Level::Ok, "nobody else"),
        (&owner, vec![TWO], Level::Ok, "nobody else"),
        (
            &owner,
            vec![ONE],
            Level::Fail,
            "02:00:00:00:00:01 answers for 10.99.0.100 beside",
        ),
    ] {
        let claims = Claims::from([(VIP, macs.iter().copied().collect())]);
        let findings = duplicates(group, &claims, Some(TWO));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].level, level, "{findings:?}");
        assert!(
            findings[0].text.contains(words),
            "{findings:?} lacks {words}"
        );
    }
}

#[test]
fn replies_and_announcements_are_claims_and_questions_are_none() {
    let reply = ArpFrame::request(ONE, [0; 4], VIP.octets()).answer(TWO, TWO);
    let frames = [
        reply,
        ArpFrame::announce_request(ONE, VIP.octets()),
        ArpFrame::request(ONE, OWN.octets(), VIP.octets()),
        ArpFrame::request(ONE, [0; 4], VIP.octets()),
    ];
    let frames: Vec<Vec<u8>> = frames
        .iter()
        .map(|frame| frame.to_bytes().to_vec())
        .collect();
    assert_eq!(
        claims(&frames),
        Claims::from([(VIP, BTreeSet::from([ONE, TWO]))])
    );
}

#[test]
fn a_slow_master_is_waited_for_and_a_very_slow_one_is_not() {
    let with = |advbase: u8| group(|json| json["master"]["advbase"] = advbase.into());
    assert_eq!(patience([].into_iter()), LEAST);
    assert_eq!(patience([with(1)].iter()), Duration::from_secs(3));
    assert_eq!(patience([with(1), with(200)].iter()), MOST);
}

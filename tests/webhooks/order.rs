//! The changes of a tree arrive in order, whatever fails; and a tree that fails holds up no other.

use futures_util::future::join_all;

use super::*;

const TREES: usize = 6;
const TURNS: usize = 5;

#[tokio::test]
async fn each_tree_is_told_in_order_while_many_are_told_at_once() {
    let (server, receiver) = (server().await, receiver().await);
    let mut webhooks = client(&server).await;
    let made = create(&mut webhooks, &receiver).await;
    receiver.on_every_in_turn([taken(), no(), taken(), Reply::hang_up(), no(), taken(), taken()]);
    let client = server.client().await;
    let grow = |mut client: Client| async move {
        let mut turns = vec![begin(&mut client).await];
        for _ in 1..TURNS {
            let last = turns.last().expect("it has begun").clone();
            turns.push(go_on(&mut client, &last).await);
        }
        turns
    };
    let trees = join_all((0..TREES).map(|_| grow(client.clone()))).await;
    let all = i64::try_from(TREES * TURNS).expect("a small number");
    until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == all).await;

    let requests = receiver.requests();
    assert!(requests.len() > TREES * TURNS, "some failed");
    assert_one_id_each(&requests);
    for turns in trees {
        let root = turns[0].conversation_id.as_str();
        let mut told: Vec<&str> =
            requests.iter().filter(|request| request.json["data"]["rootId"] == root).map(turn_of).collect();
        // What failed comes again before what follows it.
        told.dedup();
        let expected: Vec<&str> = turns.iter().map(|turn| turn.id.as_str()).collect();
        assert_eq!(told, expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_tree_whose_delivery_hangs_holds_up_no_other() {
    let (server, receiver) = (server().await, receiver().await);
    let (mut client, mut webhooks) = (server.client().await, client(&server).await);
    let made = create(&mut webhooks, &receiver).await;
    let mut hangs = taken();
    let gate = hangs.gate();
    receiver.reply(hangs);
    let first = begin(&mut client).await;
    assert_eq!(turn_of(&receiver.next_request().await), first.id);
    let behind = go_on(&mut client, &first).await;
    for _ in 0..20 {
        let other = begin(&mut client).await;
        assert_eq!(turn_of(&receiver.next_request().await), other.id);
    }
    assert_eq!(get(&mut webhooks, &made.id).await.expect("it is there").delivered_revision, 0);
    gate.open();
    assert_eq!(turn_of(&receiver.next_request().await), behind.id);
    until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == 22).await;
    assert_eq!(receiver.requests().len(), 22);
    server.stop().await;
}

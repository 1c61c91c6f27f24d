//! ListVersions: a whole tree, parents before children.

use std::collections::BTreeMap;

use causerie::proto::{self, stream_events_request::Request};

use super::{make, more, question};
use crate::support::{
    random::Dice,
    server::{Client, TestServer},
};

async fn tree(client: &mut Client, of: &str, page_size: i32) -> Vec<proto::Conversation> {
    let mut request = proto::ListVersionsRequest { conversation_id: of.to_owned(), page_size, ..Default::default() };
    let mut versions = Vec::new();
    loop {
        let page = client.list_versions(request.clone()).await.expect("a page").into_inner();
        assert!(page.versions.len() <= page_size as usize);
        versions.extend(page.versions);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return versions;
        }
    }
}

#[tokio::test]
async fn a_big_tree_is_listed_whole_with_parents_first() {
    let mut dice = Dice::seeded_by("CAUSERIE_TREE_SEED");
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    let root = make(&mut client, Request::Start(question("root"))).await;
    make(&mut client, Request::Start(question("another tree"))).await;
    // Long lines, wide forks, and forks of forks.
    let mut parents: BTreeMap<String, String> = [(root.clone(), String::new())].into();
    let mut made = vec![root.clone()];
    for n in 0..400 {
        let parent = match dice.below(3) {
            0 => made[0].clone(),
            1 => made[made.len() - 1].clone(),
            _ => dice.pick(&made).clone(),
        };
        let id = make(&mut client, Request::Append(more(&parent, &n.to_string()))).await;
        parents.insert(id.clone(), parent);
        made.push(id);
    }
    server.restart().await;
    let mut client = server.client().await;
    for (of, size) in [(&root, 1000), (&made[200], 50), (&made[400], 7)] {
        let versions = tree(&mut client, of, size).await;
        let mut seen = BTreeMap::new();
        for version in &versions {
            assert_eq!(version.parent_id, parents[&version.id]);
            assert_eq!((&version.root_id, version.id == root), (&root, version.parent_id.is_empty()));
            let parent_depth =
                if version.parent_id.is_empty() { Some(0) } else { seen.get(&version.parent_id).copied() };
            assert_eq!(parent_depth.map(|depth| depth + 1), Some(version.turn_count), "its parent came before it");
            assert!(seen.insert(version.id.clone(), version.turn_count).is_none(), "{} came twice", version.id);
            assert_eq!(version.head, !parents.values().any(|parent| *parent == version.id));
        }
        assert!(seen.keys().eq(parents.keys()), "{size} a page: all, and no other tree");
    }
    server.stop().await;
}

//! An OPC UA server for load: `opcua-load-server <port> <nodes> <interval_ms>` changes each of its
//! nodes once an interval, all with one source time.
//!
//! Nodes `nsu=urn:load;i=1` to `i=<nodes>`: number n is a Double, Int32 or Boolean by n % 3.

use std::{sync::Arc, time::Duration};

use opcua::server::{
    address_space::Variable,
    diagnostics::NamespaceMetadata,
    node_manager::memory::{simple_node_manager, SimpleNodeManager},
    ServerBuilder,
};
use opcua::types::{DataValue, DateTime, NodeId, StatusCode, Variant};

fn value(node: u32, tick: u32) -> Variant {
    match node % 3 {
        0 => Variant::Double(f64::from(tick) + f64::from(node) / 1000.0),
        1 => Variant::Int32(tick as i32),
        _ => Variant::Boolean(tick % 2 == 0),
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let numbers: Vec<u32> =
        std::env::args().skip(1).map(|each| each.parse().expect("a number")).collect();
    let [port, nodes, interval_ms] = numbers[..] else {
        panic!("usage: opcua-load-server <port> <nodes> <interval_ms>")
    };
    // A stock client that meets the usual limits of a message stands still without a word.
    let mut builder = ServerBuilder::new_anonymous("load")
        .max_message_size(64 * 1024 * 1024)
        .max_chunk_count(10_000)
        .max_array_length(1_000_000);
    builder.limits_mut().subscriptions.max_monitored_items_per_sub = 100_000;
    let (server, handle) = builder
        .application_uri("urn:load-server")
        .host("127.0.0.1")
        .port(port as u16)
        .create_sample_keypair(false)
        .with_node_manager(simple_node_manager(
            NamespaceMetadata { namespace_uri: "urn:load".to_owned(), ..Default::default() },
            "load",
        ))
        .build()
        .expect("a server");
    let manager = handle.node_managers().get_of_type::<SimpleNodeManager>().expect("a manager");
    let namespace = handle.get_namespace_index("urn:load").expect("a namespace");
    {
        let mut space = manager.address_space().write();
        for node in 1..=nodes {
            space.add_variables(
                vec![Variable::new(
                    &NodeId::new(namespace, node),
                    format!("n{node}"),
                    format!("n{node}"),
                    value(node, 0),
                )],
                &NodeId::objects_folder_id(),
            );
        }
    }
    let subscriptions = Arc::clone(handle.subscriptions());
    tokio::spawn(async move {
        let mut clock = tokio::time::interval(Duration::from_millis(u64::from(interval_ms)));
        let mut tick = 0;
        loop {
            clock.tick().await;
            tick += 1;
            let now = DateTime::now();
            let ids: Vec<NodeId> = (1..=nodes).map(|node| NodeId::new(namespace, node)).collect();
            let changes = ids.iter().enumerate().map(|(n, id)| {
                let mut changed = DataValue::new_at(value(n as u32 + 1, tick), now);
                changed.status = Some(StatusCode::Good);
                (id, None, changed)
            });
            let _ = manager.set_values(&subscriptions, changes);
        }
    });
    server.run().await.expect("it runs");
}

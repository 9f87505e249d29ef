//! Several definitions of one saga, through the whole path: which instance an event is for.

use super::{World, order_events};
use serde_json::json;

/// Finds an instance by its parcel.
const BY_PARCEL: &str = "
saga: odd
correlate: { order.order_placed: event.aggregate_id, order.order_shipped: event.payload.parcel }
starts_on: [order.order_placed, order.order_shipped]
on_event:
  order.order_placed: { set: { placed: 1 } }
  order.order_shipped: { set: { shipped: parcel } }
";

/// Finds it by its order, and stock as well.
const BY_ORDER: &str = "
saga: odd
correlate: { order.order_placed: event.aggregate_id, order.order_shipped: event.aggregate_id, stock.stock_added: '\"p\"' }
starts_on: [order.order_placed]
on_event:
  order.order_placed: { set: { placed: 2 } }
  order.order_shipped: { set: { shipped: order } }
";

#[test]
fn each_instance_is_found_by_its_own_definition() {
    let mut world = World::of_odd(BY_PARCEL);
    world.place("acme", "o-1");
    world.place("acme", "p");
    world.run();
    let mut world = world.reborn(BY_ORDER);
    world.place("acme", "o-2");
    for order in ["o-1", "o-2", "o-3"] {
        world.publish(&order_events("acme", order, 2, &["order_shipped"]));
    }
    world.run();
    let state = |order: &str| world.instance("odd", "acme", order).map(|own| own.state);
    assert_eq!(state("o-1"), Some(json!({ "placed": 1 })), "its definition asks for the parcel: that is p");
    assert_eq!(state("p"), Some(json!({ "placed": 1, "shipped": "parcel" })));
    assert_eq!(state("o-2"), Some(json!({ "placed": 2, "shipped": "order" })));
    assert_eq!(state("o-3"), None, "today's does not begin with it");
    assert_eq!(world.quarantined(), []);
}

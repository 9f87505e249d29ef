//! The example application, as every document and test uses it.

use crate::manifest::{App, SourceFile};
use std::collections::BTreeMap;

/// Its files.
pub(crate) fn shop_files() -> Vec<SourceFile> {
    macro_rules! shop {
        ($($path:literal),* $(,)?) => {
            vec![$(SourceFile {
                path: $path.to_owned(),
                text: include_str!(concat!("../../../examples/shop/", $path)).to_owned(),
            }),*]
        };
    }
    shop![
        "app.yaml",
        "aggregates/order.yaml",
        "aggregates/stock.yaml",
        "projections/open_orders.yaml",
        "projections/order_summary.yaml",
        "projections/stock_level.yaml",
        "sagas/checkout.yaml",
        "effects/charge_card.yaml",
        "effects/refund_card.yaml",
        "effects/send_receipt.yaml",
        "effects/ship_parcel.yaml",
    ]
}

/// The shop, with these files besides or instead.
pub(crate) fn shop_with(files: &[(&str, &str)]) -> App {
    let mut all = shop_files();
    for (path, text) in files {
        all.retain(|own| own.path != *path);
        all.push(SourceFile { path: (*path).to_owned(), text: (*text).to_owned() });
    }
    App::load(&all, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

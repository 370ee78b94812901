import { api, type Order } from "../../api/calls";
import { orderColumns } from "../columns";
import { ListingPage } from "../listing";

const STATES = ["submitted", "accepted", "partially_filled", "pending_cancel", "filled", "canceled", "rejected", "denied", "expired"] as const;

export default function Orders() {
  return (
    <ListingPage<Order>
      kind="orders"
      title="Orders"
      columns={orderColumns}
      fetch={api.listOrders}
      keyOf={(o) => o.account + o.id}
      states={STATES}
      empty="No order matches."
    />
  );
}

import { api, type Fill } from "../../api/calls";
import { fillColumns } from "../columns";
import { ListingPage } from "../listing";

export default function Fills() {
  return (
    <ListingPage<Fill>
      kind="fills"
      title="Fills"
      columns={fillColumns}
      fetch={api.listFills}
      keyOf={(f) => f.account + f.order_id + f.trade_id}
      empty="No execution matches."
    />
  );
}

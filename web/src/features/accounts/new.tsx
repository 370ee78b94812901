import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Panel } from "../../ui/form/Form";
import { AccountForm } from "./AccountForm";

/** Opens another account on the running market. */
export default function NewAccount() {
  const client = useQueryClient();
  const navigate = useNavigate();
  return (
    <>
      <h1 className="page">New account</h1>
      <Panel title="The account">
        <AccountForm
          onDone={() => {
            void client.invalidateQueries();
            void navigate({ to: "/" });
          }}
        />
      </Panel>
    </>
  );
}

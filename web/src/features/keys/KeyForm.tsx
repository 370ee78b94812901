import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/calls";
import { keys } from "../../api/keys";
import { useCommand } from "../../api/command";
import { Choice, Field, Form, outcome } from "../../ui/form/Form";

/** Uploads a key, or puts one in the place of another. */
export function KeyForm(props: { account: string; venue: string; replaces: number; onDone: () => void }) {
  const system = useQuery({ queryKey: keys.system, queryFn: api.system });
  const venues = system.data?.venues ?? [];
  const [venue, setVenue] = useState(props.venue);
  const [key, setKey] = useState("");
  const [secret, setSecret] = useState("");
  const [told, setTold] = useState("");
  const chosen = venue || venues[0] || "";
  const store = useCommand(() => {
      const body = { key, secret, reason: props.replaces ? "rotated in the web interface" : "uploaded in the web interface" };
      return props.replaces
        ? api.rotate(props.account, chosen, { ...body, version: props.replaces })
        : api.upload(props.account, chosen, body);
    }, { onSuccess: (result) => {
      setKey("");
      setSecret("");
      if (result.done) props.onDone();
      else setTold(outcome(result, ""));
    } });
  return (
    <Form
      onSubmit={() => store.mutate()}
      button={props.replaces ? "Try it and rotate" : "Try it and store it"}
      busy={store.isPending}
      error={store.error}
      done={told}
    >
      {!props.venue && (
        <Choice label="Venue" value={chosen} onChange={setVenue} options={venues.map((v) => [v, v] as const)} />
      )}
      <Field label="Key" value={key} onChange={setKey} />
      <Field label="Secret" value={secret} onChange={setSecret} multiline hint="Never shown again, to nobody." />
    </Form>
  );
}

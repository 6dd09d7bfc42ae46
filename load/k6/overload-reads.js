// GET /api/v1/invoices for twenty invoices: by 48 callers without a pause, or at a rate that is
// too much. A card payment every half second beside it, none of which may be lost.
import http from 'k6/http';
import exec from 'k6/execution';
import { accepted, headers, judge, order, overload, url } from './answers.js';

export const options = overload({
  payments: {
    executor: 'constant-arrival-rate',
    rate: 2,
    timeUnit: '1s',
    duration: `${__ENV.SECONDS}s`,
    preAllocatedVUs: 20,
    exec: 'payment',
    gracefulStop: '30s',
  },
});

export default function () {
  const customer = `reader-${(exec.scenario.iterationInTest * 7919) % 10000}`;
  judge(http.get(`${url}/api/v1/invoices?customerId=${customer}`), [200]);
}

export function payment() {
  const number = exec.scenario.iterationInTest;
  const body = JSON.stringify({ orderId: order(number), method: 'CARD' });
  const answer = http.post(`${url}/api/v1/payments`, body, headers(number));
  if (answer.status !== 201 && answer.status !== 202) exec.test.abort(`a payment: ${answer.body}`);
  accepted.add(1);
}

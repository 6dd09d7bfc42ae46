// POST /api/v1/payments, all of them new: by 48 callers without a pause, or at a rate that is
// too much.
import http from 'k6/http';
import exec from 'k6/execution';
import { accepted, headers, judge, order, overload, url } from './answers.js';

const ORDERS = Number(__ENV.RATE || 60) * Number(__ENV.SECONDS);

export const options = overload({});

export function setup() {
  return Array.from({ length: ORDERS }, (_, number) => order(number));
}

export default function (orders) {
  const number = exec.scenario.iterationInTest;
  const body = JSON.stringify({ orderId: orders[number % ORDERS], method: 'CARD' });
  const answer = http.post(`${url}/api/v1/payments`, body, headers(number % ORDERS));
  if (judge(answer, [201, 202])) accepted.add(1);
}

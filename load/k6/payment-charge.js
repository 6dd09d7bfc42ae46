// POST /api/v1/payments at a constant rate: one of five is new, the others repeat a request that was
// made before, the newest of them five seconds ago.
import http from 'k6/http';
import exec from 'k6/execution';
import { Rate, Trend } from 'k6/metrics';
import { accepted, constant, headers, judge, kept, order, rate, seconds, url } from './answers.js';

const NEW = 5;
const FIRST = 20;
const AGO = (5 * rate) / NEW;

const replayed = new Rate('replayed');
const replayTime = new Trend('replay_time', true);
const newTime = new Trend('new_time', true);

export const options = {
  setupTimeout: '120s',
  scenarios: { payments: constant() },
  thresholds: {
    ...kept,
    replayed: ['rate>0.8'],
    replay_time: ['p(95)<15'],
    refused: ['count==0'],
    as_promised: ['rate==1'],
  },
};

function pay(orders, number) {
  const body = JSON.stringify({ orderId: orders[number], method: 'CARD' });
  return http.post(`${url}/api/v1/payments`, body, headers(number));
}

// As many orders as there will be new payments, and the first of them paid.
export function setup() {
  const count = FIRST + Math.ceil((rate * seconds) / NEW) + 1;
  const orders = Array.from({ length: count }, (_, number) => order(number));
  for (let number = 0; number < FIRST; number++) {
    if (pay(orders, number).status === 201) accepted.add(1);
  }
  return orders;
}

export default function (orders) {
  const iteration = exec.scenario.iterationInTest;
  const number = FIRST + Math.floor(iteration / NEW);
  if (iteration % NEW === 0) {
    const answer = pay(orders, number);
    if (judge(answer, [201, 202])) accepted.add(1);
    newTime.add(answer.timings.duration);
    return;
  }
  // Among those, one after the other.
  const answer = pay(orders, (iteration * 13) % Math.max(FIRST, Math.floor(number - AGO)));
  const again = answer.headers['Idempotency-Replayed'] === 'true';
  replayed.add(again);
  if (again) replayTime.add(answer.timings.duration);
  judge(answer, [201, 409]);
}
